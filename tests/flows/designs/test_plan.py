"""The plan: each stage run once, inputs before readers, the same file for the same designs, and dvc.yaml to match."""

import io
import re
import time
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from data_registry.errors import InputError
from flows.costs.cost import Costs
from flows.costs.graph import critical_path, makespan
from flows.designs.design import ROWS, listed_designs, parse
from flows.designs.plan import (
    BASELINES,
    Plan,
    adapt_name,
    align_name,
    annotation_of,
    design_runs,
    plan_of,
    read_plan,
    training_runs_naive,
    write_plan,
)
from flows.designs.space import Range, Space
from flows.execution.devices import Devices
from flows.execution.estimate import estimate, show
from flows.execution.status import status_of
from tasks.identity import settings
from tasks.identity.files import write_json
from tasks.identity.paths import Paths
from tasks.identity.settings import NO_SLOTS
from tasks.stage.harness import execute
from tasks.stages import STAGES
from tests.flows.designs.test_design import grid

REPO = Path(__file__).resolve().parents[3]


def test_the_grid_shares_its_prefixes():
    plan = plan_of(grid())
    counts = {stage: len(plan.entries[stage]) for stage in ("adapt", "align", "instruct", "score")}
    assert counts == {"adapt": 3, "align": 72, "instruct": 144, "score": 144}
    assert len(plan.training_runs()) == 219
    assert training_runs_naive(grid()) == 384


def test_the_committed_parameters_plan_what_they_keep_at_small_scale(tmp_path):
    (tmp_path / "params.yaml").write_text((REPO / "params.yaml").read_text().replace("scale: tiny", "scale: small", 1))
    seen = estimate(tmp_path, listed_designs(settings.load(tmp_path).params))
    assert seen.as_json()["designs"] == 4
    costs = Costs(tmp_path, seen.plan)
    assert all(costs.seconds(run) < 600 for run in seen.plan.runs() if run.startswith("foundation/"))


def test_two_designs_share_everything_before_they_part():
    five, eight = ROWS[5], ROWS[8]
    plan = plan_of([five, eight])
    assert len(plan.entries["align"]) == 2
    assert len(plan.entries["foundation"]) == 3
    four = plan_of([ROWS[4], five])
    assert list(four.entries["align"]) == [align_name(five)] == [align_name(ROWS[4])]
    assert four.needs(f"instruct/{five.name}")[0] == f"align/{align_name(five)}"


def test_inputs_come_before_what_reads_them():
    plan = plan_of(grid())
    place = {run: i for i, run in enumerate(plan.runs())}
    assert len(place) == len(plan.runs())
    for run in plan.runs():
        assert all(place[one] < place[run] for one in plan.needs(run))


def test_stage_0_replaces_the_encoder_it_adapts():
    ten = ROWS[10]
    plan = plan_of([ten])
    adapted = f"adapt/{adapt_name(ten)}"
    assert adapted == "adapt/clip_3di-pb-oi1m-ntp_llama3-8b"
    for stage in ("align", "instruct", "score"):
        entry = plan.entry(design_runs(ten)[stage])
        assert entry["encoders"][:2] == [adapted, "foundation/dinov2"]
    assert adapt_name(ROWS[9]) == "clip_3di-pb-oi1m-clip"  # the contrastive loss needs no LLM


def test_a_blind_design_has_no_stage_1_and_marks_its_padding():
    blind = parse("blind_llama3-8b_mix665k")
    plan = plan_of([blind])
    assert not plan.entries["align"]
    entry = plan.entry(f"instruct/{blind.name}")
    assert entry["empty"] == ["align", "encoders"]
    assert entry["parts"]["encoders"] == []


def test_settings_apply_from_stage_2_on():
    plain, tuned = parse("clip_vicuna-7b_cc558k_mix665k"), parse("clip_vicuna-7b_cc558k_mix665k_lr=1e-4")
    plan = plan_of([plain, tuned])
    assert len(plan.entries["align"]) == 1
    assert len(plan.entries["instruct"]) == 2
    assert plan.entry(f"instruct/{tuned.name}")["parts"]["set"] == {"lr": 1e-4}
    assert "set" not in plan.entry(f"instruct/{plain.name}")["parts"]


def test_a_share_of_a_data_set_is_part_of_stage_2s_identity_alone():
    plain, half = (parse(f"clip_vicuna-7b_cc558k_mix665k+3di-ft1m{end}") for end in ("", "_3di-ft1m=1of2"))
    plan = plan_of([plain, half])
    assert (len(plan.entries["align"]), len(plan.entries["instruct"])) == (1, 2)
    assert plan.entry(f"instruct/{half.name}")["parts"]["shares"] == {"3di-ft1m": 0.5}
    assert "shares" not in plan.entry(f"instruct/{plain.name}")["parts"]
    assert "set" not in plan.entry(f"instruct/{half.name}")["parts"]


def test_where_a_rung_stops_is_part_of_stage_2s_identity_alone():
    plain, third = (parse(f"clip_vicuna-7b_cc558k_mix665k{end}") for end in ("", "_frac=1of3"))
    plan = plan_of([plain, third])
    assert (len(plan.entries["align"]), len(plan.entries["instruct"]), len(plan.entries["score"])) == (1, 2, 2)
    parts, whole = (plan.entry(f"instruct/{design.name}")["parts"] for design in (third, plain))
    assert parts == whole | {"frac": pytest.approx(1 / 3)}


def test_an_annotation_needs_a_pose_head_and_leaves_the_designs_alone():
    annotation = annotation_of("openimages")
    assert annotation.closure(["annotate/openimages"]) == [
        "scenes/pose-train", "scenes/pose-test", "foundation/dinov2", "pose/dinov2", "annotate/openimages",
    ]  # fmt: skip
    designs = plan_of(grid())
    both = designs.merge(annotation)
    assert all(both.entry(run) == designs.entry(run) for run in designs.runs())


def test_the_file_is_the_same_for_the_same_designs(tmp_path):
    designs = grid()[::7]
    assert write_plan(tmp_path, plan_of(designs))
    first = (tmp_path / "plan.yaml").read_bytes()
    assert not write_plan(tmp_path, plan_of(reversed(designs)))
    assert (tmp_path / "plan.yaml").read_bytes() == first
    assert read_plan(tmp_path).entries == plan_of(designs).entries
    both = plan_of(designs[:2]).merge(plan_of(designs[2:]))
    assert not write_plan(tmp_path, both)
    assert b"&id" not in first


def stages_slots(do: dict) -> tuple[set[str], dict[str, int]]:
    """The slots that a stage of dvc.yaml reads: those of one stage run, and how many places of each list."""
    deps = " ".join(do.get("deps", []))
    several = re.findall(r"\$\{item\.(\w+)\[(\d)\]\}", deps)
    places = {slot: 1 + max(int(place) for name, place in several if name == slot) for slot, _ in several}
    assert {(slot, str(place)) for slot, count in places.items() for place in range(count)} == set(several)
    return set(re.findall(r"\$\{item\.(\w+)\}", deps)), places


def test_a_stage_that_no_table_has_is_named(tmp_path):
    """Not a bare KeyError, and not a stage run on the CPU of a machine with GPUs."""
    devices = Devices(tmp_path, {"gpus": 1})
    known = r"unknown stage 'aligm', did you mean align"
    for ask in (lambda: devices.kind("aligm/x"), lambda: Plan().add("aligm/x", {"parts": {}})):
        with pytest.raises(InputError, match=known):
            ask()
    (tmp_path / "plan.yaml").write_text("plan: {aligm: {x: {parts: {}}}}")
    with pytest.raises(InputError, match=r"plan\.yaml: plan\.aligm: unknown stage, did you mean align.*extensions"):
        read_plan(tmp_path)


def test_dvc_yaml_reads_every_slot_and_tracks_every_identity():
    """What the harness puts into an identity is what DVC watches, stage by stage."""
    pipeline = yaml.safe_load((REPO / "dvc.yaml").read_text())["stages"]
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    plan = plan_of([*grid(), parse("blind_llama3-8b_mix665k")]).merge(annotation_of("openimages"))
    assert all(plan.entries[stage] for stage in STAGES)
    assert list(pipeline) == list(STAGES)
    for stage, definition in pipeline.items():
        do = definition["do"]
        assert definition["foreach"] == f"${{plan.{stage}}}"
        assert do["cmd"] == f"python -m tasks.{stage} ${{key}}"
        single, several = stages_slots(do)
        assert single == set(STAGES[stage].slots), f"{stage}: tasks/stages.py and dvc.yaml name other slots"
        assert several == STAGES[stage].lists, f"{stage}: tasks/stages.py and dvc.yaml name other places of lists"
        for entry in plan.entries[stage].values():
            assert single | set(several) == set(entry) - set(NO_SLOTS), stage
            assert all(isinstance(entry[slot], str) for slot in single), stage
            assert all(len(entry[slot]) >= places for slot, places in several.items()), stage
        watched = [one for one in do["params"] if isinstance(one, str)]
        assert f"versions.{stage}" in watched
        assert {"plan.yaml": [f"plan.{stage}.${{key}}.parts"]} in do["params"]
        section = params[stage]["tiny"]
        if "each" in section:
            own = "${item.section}" if stage == "data" else "each.${key}"
            assert {f"{stage}.${{scale}}.common", f"{stage}.${{scale}}.{own}"} <= set(watched)
            seeds_itself = all("seed" in {**section["common"], **(own or {})} for own in section["each"].values())
        else:
            assert f"{stage}.${{scale}}" in watched
            seeds_itself = "seed" in section
        assert ("seed" in watched) != seeds_itself, f"{stage}: the global seed counts exactly where there is no own"
    assert not any("runtime" in str(definition) for definition in pipeline.values())


def test_makespan_of_a_diamond():
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    seconds = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 1.0}
    assert makespan(needs, seconds, 1) == 9
    assert makespan(needs, seconds, 2) == 7
    assert makespan({"d": ["b"]}, seconds, 2) == 1  # b is there
    assert makespan({}, {}, 2) == 0


def test_makespan_where_some_runs_need_a_gpu():
    """One GPU, two CPU slots: what needs the GPU waits for it, though a slot is free."""
    needs = {"data/a": [], "data/b": [], "align/a": ["data/a"], "align/b": ["data/b"]}
    seconds = {"data/a": 1.0, "data/b": 1.0, "align/a": 10.0, "align/b": 10.0}
    assert makespan(needs, seconds, {"data": 2, "align": 1}, lambda run: run.partition("/")[0]) == 21
    assert makespan(needs, seconds, 2) == 11


def test_the_finish_time_counts_this_machines_gpus(project):
    params = project.params()
    params["runtime"] = {"slots": 3, "gpus": 2, "gpus_per_run": 2}
    project.set_params(params)
    seen, on_one = (estimate(project.root, [ROWS[8], ROWS[1]], slots) for slots in (None, 1))
    on_gpu = [run for run in seen.left if run.partition("/")[0] not in ("scenes", "data", "benchmark", "baselines")]
    assert seen.slots == 1
    assert sum(seen.seconds[run] for run in on_gpu) / 3600 <= seen.finish_hours < on_one.finish_hours


def test_the_longest_chain_of_a_diamond():
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    assert critical_path(needs, {"a": 1.0, "b": 5.0, "c": 2.0, "d": 1.0}) == ["a", "b", "d"]
    assert critical_path(needs, {"a": 1.0, "b": 5.0, "c": 7.0, "d": 1.0}) == ["a", "c", "d"]
    assert critical_path({"d": ["b"]}, {"d": 1.0}) == ["d"]
    assert critical_path({}, {}) == []


def test_ten_thousand_designs_are_planned_within_five_seconds(project):
    space = Space(settings={"lr": Range(1e-4, 1e-1, 70, log=True)})
    designs = list(space.designs())
    assert len(designs) > 9_900
    started = time.process_time()
    seen = estimate(project.root, designs, slots=8, price=2.0)
    assert time.process_time() - started < 5
    assert len(seen.plan.training_runs()) == len(designs) + 72 + 3, "stages 0 and 1 do not depend on lr"
    assert seen.dollars == pytest.approx(2.0 * seen.gpu_hours)
    assert seen.finish_hours >= seen.as_json()["critical_path_hours"] > 0


def test_paper_scale_tells_what_of_a_gpu_a_training_takes(tmp_path):
    params = settings.read_yaml(REPO / "params.yaml") | {"scale": "paper"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    seen = estimate(tmp_path, [ROWS[1], ROWS[9], ROWS[10]])
    assert sorted(seen.gib) == sorted(seen.plan.training_runs())
    row_1 = seen.gib["instruct/clip_vicuna-7b_cc558k_mix665k"]
    # ZeRO-3 on eight: 18 bytes of what trains, 2 of CLIP; 32 layers' inputs and the inside of one; logits of answers.
    states = (18 * (6.738e9 + 0.021e9) + 2 * 0.304e9) / 8
    passing = 8 * (576 + 300) * 4096 * (2 * 32 + 34) + 8 * 300 * 32000 * 10
    assert row_1 == pytest.approx((states + passing) / 2**30, rel=1e-3)
    contrastive, next_token = (seen.gib[f"adapt/{adapt_name(ROWS[row])}"] for row in (9, 10))
    assert contrastive < 2 and next_token > 15, "the second has the whole LLM on every GPU"
    printed = Console(file=io.StringIO(), width=200)
    show(printed, seen)
    assert f"At most {max(seen.gib.values()):.1f} GiB of a GPU" in printed.file.getvalue()
    assert "fits A100-40G" in printed.file.getvalue()

    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | {"runtime": {"gpus_per_run": 64}}))
    states, passing = (18 * (6.738e9 + 0.021e9) + 2 * 0.304e9) / 64, passing / 4
    shared = estimate(tmp_path, [ROWS[1]]).gib["instruct/clip_vicuna-7b_cc558k_mix665k"]
    assert shared == pytest.approx((states + passing) / 2**30, rel=1e-3), "2 of a step's 128 rows are left for each"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | {"runtime": {"gpus_per_run": 1}}))
    alone = estimate(tmp_path, [ROWS[1]])
    show(printed, alone)
    assert max(alone.gib.values()) > 18 * 6.738e9 / 2**30 and "fits no A100" in printed.file.getvalue()
    assert estimate(REPO, [ROWS[1]]).gib == {}, "tiny scale runs on cores"


def test_paper_scale_costs_follow_the_published_hours(tmp_path):
    (tmp_path / "params.yaml").write_text("scale: paper\n")
    baseline = ROWS[1]
    plan = plan_of([baseline])
    costs = Costs(tmp_path, plan)
    runs = design_runs(baseline)
    assert costs.gpu_hours([runs["align"]]) == pytest.approx(28)
    assert costs.gpu_hours([runs["instruct"]]) == pytest.approx(80)
    assert costs.finish_hours([runs["align"], runs["instruct"]], 1) == pytest.approx(13.5)


def test_gpu_hours_do_not_depend_on_how_many_gpus_share_a_run(tmp_path):
    (tmp_path / "params.yaml").write_text("scale: paper\nruntime: {gpus_per_run: 4}\n")
    plan, runs = plan_of([ROWS[1]]), design_runs(ROWS[1])
    costs = Costs(tmp_path, plan)
    assert costs.gpu_hours([runs["align"]]) == pytest.approx(28), "as on eight"
    assert costs.seconds(runs["align"]) == pytest.approx(28 * 3600 / 4)
    write_json(Paths(tmp_path, "paper", *runs["align"].split("/")).record, {"seconds": 3600.0})
    assert costs.look()
    assert costs.gpu_hours([runs["align"]]) == pytest.approx(4), "an hour on four"


def test_an_outlook_writes_nothing(project):
    before = {path: path.stat().st_mtime_ns for path in project.root.rglob("*")}
    seen = estimate(project.root, grid()).as_json()
    assert {path: path.stat().st_mtime_ns for path in project.root.rglob("*")} == before
    assert (seen["designs"], seen["training_runs_naive"], seen["training_runs"]) == (144, 384, 219)
    assert seen["restored"] == 0
    assert seen["gpu_hours"] > seen["finish_hours"] > 0


def test_what_was_made_from_an_outdated_stage_run_is_left_too(project):
    """The baselines fit the benchmark that lies there, and that fits the scenes, which are asked for anew."""
    plan = plan_of([ROWS[1]]).only([BASELINES])
    for run in plan.runs():
        stage, _, name = run.partition("/")
        execute(stage, name, lambda run: {}, project.root)
    there = estimate(project.root, [ROWS[1]]).there
    assert there == plan.runs()

    params = project.params()
    params["scenes"]["tiny"]["each"]["train"]["size"] = 2
    project.set_params(params)
    assert estimate(project.root, [ROWS[1]]).there == ["scenes/test"]
    states = {row["run"]: row["state"] for row in status_of(project.root)}
    assert {run for run, state in states.items() if state == "outdated"} == set(there) - {"scenes/test"}


def test_before_anything_is_recorded_more_data_costs_more(tmp_path):
    """The scheduler begins with the longest way to the end, so the guess decides whether a core idles at the end."""
    names = ["mix665k", "mix665k+3di-ft1m", "mix665k+3di-ft1m_3di-ft1m=1of2", "mix665k+3di-ft1m_frac=1of3"]
    designs = [parse(f"clip_vicuna-7b_cc558k_{name}") for name in names]
    (tmp_path / "params.yaml").write_text((REPO / "params.yaml").read_text())
    costs = Costs(tmp_path, plan_of(designs))
    whole, both, half, third = (costs.seconds(f"instruct/{design.name}") for design in designs)
    assert whole < half < both
    assert third == pytest.approx(both / 3)


def test_what_a_rung_has_done_of_a_training_is_not_to_be_done_again(tmp_path):
    rungs = [parse(f"clip_vicuna-7b_cc558k_mix665k{frac}") for frac in ("_frac=1of9", "_frac=1of3", "")]
    (tmp_path / "params.yaml").write_text((REPO / "params.yaml").read_text())
    first, second, whole = (f"instruct/{design.name}" for design in rungs)
    write_json(Paths(tmp_path, "tiny", *first.split("/")).record, {"seconds": 20.0, "processor_s": 10.0})
    costs = Costs(tmp_path, plan_of(rungs))
    assert costs.seconds(first) == 20
    assert costs.seconds(second) == pytest.approx(60 - 20)
    assert costs.seconds(whole) == pytest.approx(180 - 20)
    assert costs.gpu_hours([whole]) == pytest.approx((90 - 10) / 3600)
    assert costs.gpu_hours([whole], from_start=True) == pytest.approx(90 / 3600)
    # The second rung's own part took 50 s of the clock, after the first one's 20.
    record = {"seconds": 50.0, "processor_s": 25.0, "earlier": {"seconds": 20.0, "processor_s": 10.0}}
    write_json(Paths(tmp_path, "tiny", *second.split("/")).record, record)
    assert costs.look()
    assert costs.seconds(second) == 70
    assert costs.seconds(whole) == pytest.approx((180 + 210) / 2 - 70)
