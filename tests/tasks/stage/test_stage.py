"""The harness of a stage: identity, whole outputs or none, claims, resuming, and errors a person can act on."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from data_registry.errors import InputError
from tasks.identity import manifest, settings
from tasks.identity.identity import identify, is_whole
from tasks.identity.manifest import Damaged
from tasks.identity.parse import parse
from tasks.identity.paths import Paths
from tasks.stage import harness, unrecorded
from tasks.stage.harness import EXIT_DAMAGED, EXIT_INPUT, EXIT_PASSING, execute
from tasks.tracking.recorder import Recorder

PARAMS = """
scale: tiny
seed: 7
runtime: {slots: 2, device: auto, threads: 1, tracking: "sqlite:///mlflow.db"}
versions: {scenes: 1, data: 1}
scenes:
  tiny:
    common: {size: 96}
    each: {train: {images: 3, seed: 1}, test: {images: 2, seed: 2}}
data:
  tiny: {rows: 5, lr: 1e-3}
"""
PLAN = """
plan:
  scenes:
    train: {parts: {split: train}}
    test: {parts: {split: test}}
  data:
    cc558k:
      parts: {dataset: cc558k}
      scenes: [scenes/train, scenes/test, scenes/train]
      spare: scenes/train
      empty: [spare]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


def change(root: Path, old: str, new: str, file: str = "params.yaml") -> None:
    text = (root / file).read_text()
    assert old in text
    (root / file).write_text(text.replace(old, new))


def write(run):
    (run.out / "deep").mkdir()
    (run.out / "deep" / "file.txt").write_text(f"{run.name} {run.params} {run.seed}")
    return {"rows": 3}


def identity(root: Path, name: str = "cc558k", of: str = "data") -> dict:
    return identify(settings.load(root), of, name)[0]


@pytest.fixture
def scenes(root: Path) -> Path:
    for split in ("train", "test"):
        assert execute("scenes", split, write, root)
    return root


def test_an_output_is_computed_once_and_has_its_manifest(root):
    assert execute("scenes", "train", write, root)
    assert not execute("scenes", "train", write, root)
    paths = Paths(root, "tiny", "scenes", "train")
    manifest = json.loads((paths.out / "MANIFEST.json").read_text())
    assert sorted(manifest["files"]) == ["deep/file.txt", "metrics.json"]
    assert manifest["identity"]["params"] == {"size": 96, "images": 3, "seed": 1}
    assert manifest["identity"]["seed"] == 1
    assert json.loads((paths.out / "metrics.json").read_text()) == {"rows": 3}
    assert not paths.partial.exists()
    assert not paths.work.exists()
    assert not paths.holder.exists()


def test_inputs_are_given_without_padding(scenes):
    seen = {}

    def look(run):
        seen.update(run.inputs)
        return write(run)

    execute("data", "cc558k", look, scenes)
    runs = scenes / "runs" / "tiny" / "scenes"
    assert seen == {"scenes": [runs / "train", runs / "test"]}


@pytest.mark.parametrize(
    ("old", "new", "file"),
    [
        ("rows: 5", "rows: 6", "params.yaml"),
        ("lr: 1e-3", "lr: 2e-3", "params.yaml"),
        ("data: 1", "data: 2", "params.yaml"),
        ("seed: 7", "seed: 8", "params.yaml"),
        ("dataset: cc558k", "dataset: other", "plan.yaml"),
    ],
)
def test_what_changes_a_result_changes_the_identity(scenes, old, new, file):
    before = identity(scenes)
    change(scenes, old, new, file)
    assert identity(scenes) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("device: auto", "device: cuda"),
        ("slots: 2", "slots: 64"),
        ("threads: 1", "threads: 8"),
        ("mlflow.db", "elsewhere.db"),
        ("lr: 1e-3", "lr: 0.001"),
        ("images: 2", "images: 4"),  # of test scenes, whose output has not been computed again
        ("versions:", "unrelated: {a: 1}\nversions:"),
    ],
)
def test_what_does_not_change_a_result_stays_out_of_the_identity(scenes, old, new):
    before = identity(scenes)
    change(scenes, old, new)
    assert identity(scenes) == before


def test_an_identity_knows_no_paths(scenes, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name, text in (("params.yaml", PARAMS), ("plan.yaml", PLAN)):
        (elsewhere / name).write_text(text)
    for split in ("train", "test"):
        execute("scenes", split, write, elsewhere)
    assert identity(elsewhere) == identity(scenes)
    assert str(scenes) not in json.dumps(identity(scenes))


def test_a_changed_input_changes_the_identity_only_if_its_contents_change(scenes):
    before = identity(scenes)
    change(scenes, "scenes: 1", "scenes: 2")
    execute("scenes", "train", write, scenes)
    assert identity(scenes) == before, "a raised version that writes equal bytes recomputes nothing after it"
    change(scenes, "images: 3", "images: 4")
    execute("scenes", "train", write, scenes)
    assert identity(scenes) != before


def test_a_date_cannot_be_part_of_an_identity(scenes):
    change(scenes, "rows: 5", "rows: 2026-01-01")
    with pytest.raises(InputError, match="date"):
        identity(scenes)


def damage_truncate(file: Path) -> None:
    file.write_text(file.read_text()[:-1])


def damage_flip(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def damage_delete(file: Path) -> None:
    file.unlink()


def damage_add(file: Path) -> None:
    file.with_name("more.txt").write_text("more")


def damage_manifest(file: Path) -> None:
    (file.parents[1] / "MANIFEST.json").unlink()


DAMAGES = [damage_truncate, damage_flip, damage_delete, damage_add, damage_manifest]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_output_is_computed_again(root, damage):
    execute("scenes", "train", write, root)
    paths = Paths(root, "tiny", "scenes", "train")
    unrecorded.recorded(paths)  # as DVC's cache has it then
    damage(paths.out / "deep" / "file.txt")
    assert not is_whole(paths.out)
    assert execute("scenes", "train", write, root)
    assert is_whole(paths.out)
    assert not (paths.out / "deep" / "more.txt").exists()


def test_sizes_alone_tell_a_truncated_file(root):
    """What `status` looks at: gigabytes are not read for it."""
    execute("scenes", "train", write, root)
    out = Paths(root, "tiny", "scenes", "train").out
    assert is_whole(out, contents=False)
    damage_truncate(out / "deep" / "file.txt")
    assert not is_whole(out, contents=False)


def test_an_altered_manifest_is_no_manifest(root):
    execute("scenes", "train", write, root)
    path = Paths(root, "tiny", "scenes", "train").out / "MANIFEST.json"
    altered = json.loads(path.read_text()) | {"content": "0" * 64}
    path.write_text(json.dumps(altered))
    with pytest.raises(Damaged, match="was altered since it was written"):
        manifest.verify(path.parent)


def test_a_half_written_output_never_takes_a_whole_ones_place(root):
    execute("scenes", "train", write, root)
    paths = Paths(root, "tiny", "scenes", "train")
    paths.partial.mkdir()
    (paths.partial / "half").write_text("half")
    assert not execute("scenes", "train", write, root), "the whole one is still there"
    assert is_whole(paths.out)
    assert not paths.partial.exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_input_is_named_with_its_remedy_and_never_used(scenes, damage):
    damage(scenes / "runs/tiny/scenes/test/deep/file.txt")
    with pytest.raises(Damaged) as refused:
        execute("data", "cc558k", write, scenes)
    assert "runs/tiny/scenes/test" in str(refused.value)
    assert str(refused.value).endswith("scenes test`")
    assert not (scenes / "runs/tiny/data").exists()


def test_an_input_replaced_meanwhile_is_not_published(scenes):
    def replace(run):
        change(scenes, "images: 3", "images: 9")
        execute("scenes", "train", write, scenes)
        return write(run)

    with pytest.raises(Damaged, match="recomputed meanwhile"):
        execute("data", "cc558k", replace, scenes)
    assert list((scenes / "runs/tiny/data").iterdir()) == []


def test_a_failed_compute_leaves_nothing_half_written(root):
    def fail(run):
        (run.out / "half").write_text("half")
        (run.work / "checkpoint").write_text("3")
        raise RuntimeError("the original error")

    with pytest.raises(RuntimeError, match="the original error"):
        execute("scenes", "train", fail, root)
    paths = Paths(root, "tiny", "scenes", "train")
    assert list(paths.out.parent.iterdir()) == []
    assert (paths.work / "checkpoint").exists(), "what was trained is kept for the next attempt"


def test_checkpoints_are_resumed_by_the_same_identity_only(root):
    seen = []

    def interrupted(run):
        seen.append((run.work / "checkpoint").exists())
        (run.work / "checkpoint").write_text("3")
        raise RuntimeError

    for expected in (False, True):
        with pytest.raises(RuntimeError):
            execute("scenes", "train", interrupted, root)
        assert seen[-1] is expected
    change(root, "images: 3", "images: 4")
    with pytest.raises(RuntimeError):
        execute("scenes", "train", interrupted, root)
    assert seen[-1] is False


def test_a_finished_output_that_missed_its_rename_is_published(root):
    execute("scenes", "train", write, root)
    paths = Paths(root, "tiny", "scenes", "train")
    paths.out.rename(paths.partial)
    assert not execute("scenes", "train", write, root)
    assert is_whole(paths.out)
    # A half-written one is not.
    unrecorded.recorded(paths)
    paths.out.rename(paths.partial)
    (paths.partial / "MANIFEST.json").unlink()
    assert execute("scenes", "train", write, root)


def test_a_metric_that_is_not_a_number_is_refused(root):
    with pytest.raises(ValueError, match=r"[Oo]ut of range float"):
        execute("scenes", "train", lambda run: {"loss": float("nan")}, root)
    assert list((root / "runs/tiny/scenes").iterdir()) == []


def run_main(monkeypatch, capsys, root, of, name, compute):
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit) as ended:
        harness.main(of, compute, [name])
    return ended.value.code, capsys.readouterr().err


def test_a_full_disk_is_a_clear_error(monkeypatch, capsys, root):
    def fill(run):
        with Path("/dev/full").open("w") as full:
            full.write("x" * 10)
        return {}

    code, printed = run_main(monkeypatch, capsys, root, "scenes", "train", fill)
    assert code == EXIT_INPUT
    assert "is full" in printed
    assert "Free some space" in printed
    assert "Traceback" not in printed
    assert list((root / "runs/tiny/scenes").iterdir()) == []


def test_a_full_disk_told_as_text_only_is_recognised(monkeypatch, capsys, root):
    def fill(run):
        raise RuntimeError("I/O error: No space left on device (os error 28)")

    assert run_main(monkeypatch, capsys, root, "scenes", "train", fill)[0] == EXIT_INPUT


def test_an_unknown_name_names_the_nearest(monkeypatch, capsys, root):
    code, printed = run_main(monkeypatch, capsys, root, "scenes", "trian", write)
    assert code == EXIT_INPUT
    assert "did you mean train?" in printed
    assert "Traceback" not in printed


def test_a_damaged_input_has_an_exit_code_of_its_own(monkeypatch, capsys, scenes):
    damage_flip(scenes / "runs/tiny/scenes/test/deep/file.txt")
    assert run_main(monkeypatch, capsys, scenes, "data", "cc558k", write)[0] == EXIT_DAMAGED


def test_parameters_edited_meanwhile_do_not_pass_for_those_computed_with(monkeypatch, capsys, root):
    def edit(run):
        change(root, "images: 3", "images: 4")
        return write(run)

    code, printed = run_main(monkeypatch, capsys, root, "scenes", "train", edit)
    assert code == EXIT_PASSING
    assert "edited while it was computed" in printed
    out = Paths(root, "tiny", "scenes", "train").out
    assert manifest.read_manifest(out)["identity"]["params"]["images"] == 3
    assert execute("scenes", "train", write, root)
    assert manifest.read_manifest(out)["identity"]["params"]["images"] == 4


def test_a_fault_of_ours_shows_its_traceback(monkeypatch, capsys, root):
    def fail(run):
        raise KeyError("ours")

    code, printed = run_main(monkeypatch, capsys, root, "scenes", "train", fail)
    assert code == 1
    assert "Traceback" in printed


@dataclass(frozen=True)
class Inner:
    share: float = 0.5


@dataclass(frozen=True)
class Params:
    rows: int
    lr: float
    names: list[str] = field(default_factory=list)
    span: tuple[int, int] = (0, 1)
    limit: int | None = None
    inner: Inner = Inner()


def test_parameters_are_parsed_and_typed():
    given = {"rows": 5, "lr": 1, "names": ["a"], "span": [2, 3], "limit": None, "inner": {"share": 1}}
    parsed = parse(Params, given, "params.yaml: data.tiny")
    assert parsed == Params(5, 1.0, ["a"], (2, 3), None, Inner(1.0))
    assert isinstance(parsed.lr, float)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"rows": 5, "lrr": 1.0}, "params.yaml: data.tiny.lrr: unknown key, did you mean lr?"),
        ({"rows": 5}, "params.yaml: data.tiny.lr: missing"),
        ({"rows": 5.5, "lr": 1.0}, "params.yaml: data.tiny.rows: expected a whole number, found 5.5"),
        ({"rows": True, "lr": 1.0}, "data.tiny.rows: expected a whole number"),
        ({"rows": 5, "lr": "fast"}, "data.tiny.lr: expected a number, found 'fast'"),
        ({"rows": 5, "lr": 1.0, "names": [1]}, "data.tiny.names[0]: expected text"),
        ({"rows": 5, "lr": 1.0, "span": [1]}, "data.tiny.span: expected a list of 2"),
        ({"rows": 5, "lr": 1.0, "inner": {"shar": 1}}, "data.tiny.inner.shar: unknown key, did you mean share?"),
    ],
)
def test_a_wrong_parameter_is_named(values, says):
    with pytest.raises(InputError) as refused:
        parse(Params, values, "params.yaml: data.tiny")
    assert says in str(refused.value)


def test_settings_name_file_and_key(root):
    change(root, "scale: tiny", "scale: tinny")
    with pytest.raises(InputError, match=r"params.yaml: scale: 'tinny' is unknown, did you mean tiny"):
        execute("scenes", "train", write, root)
    change(root, "scale: tinny", "scale: small")
    with pytest.raises(InputError, match=r"params.yaml: scenes.small: there is no such section"):
        execute("scenes", "train", write, root)
    (root / "params.yaml").write_text("scale: [tiny\nseed: 1\n")
    with pytest.raises(InputError, match="line 2: not valid YAML"):
        execute("scenes", "train", write, root)
    with pytest.raises(InputError, match="repository's root"):
        execute("scenes", "train", write, root / "nowhere")


@pytest.mark.parametrize(
    ("runtime", "says"),
    [
        ({"slotss": 2}, "runtime.slotss: unknown key, did you mean slots?"),
        ({"slots": "two"}, "runtime.slots: expected a whole number, found 'two'"),
        ({"device": "gpu"}, "runtime.device: 'gpu' is unknown, known: auto, cpu, cuda"),
        ({"dollars_per_hour": "cheap"}, "runtime.dollars_per_hour: expected a number"),
        ({"scenes": 3}, "runtime.scenes: expected keys with values"),
    ],
)
def test_a_wrong_runtime_is_named(runtime, says):
    with pytest.raises(InputError) as refused:
        settings.Settings(Path(), {"runtime": runtime}, {}).runtime  # noqa: B018
    assert says in str(refused.value)


def test_a_part_that_another_scale_has_is_said_to_be_there():
    params = {"foundation": {"tiny": {"each": {"clip": {}}}, "paper": {"each": {"siglip2": {}}}}, "scale": "tiny"}
    with pytest.raises(InputError, match="no key 'siglip2', which paper scale has; here: clip"):
        settings.Settings(Path(), params, {}).section("foundation", "siglip2")


def test_what_a_sweep_sets_goes_on_top_and_must_exist(scenes):
    plan = "parts: {dataset: cc558k}"
    change(scenes, plan, "parts: {dataset: cc558k, set: {lr: 5.0}}", "plan.yaml")
    assert identity(scenes)["params"] == {"rows": 5, "lr": 5.0}
    change(scenes, "set: {lr: 5.0}", "set: {lrr: 5.0}", "plan.yaml")
    with pytest.raises(InputError, match="did you mean lr"):
        identity(scenes)


def test_steps_logged_again_after_resuming_replace_the_earlier_ones(tmp_path):
    path = tmp_path / "history.jsonl"
    recorder = Recorder(path)
    for step in range(4):
        recorder.log(step, {"loss": 10.0 - step})
    path.write_text(path.read_text() + '{"step": 4, "lo')  # killed in the middle of a write
    Recorder(path).log(4, {"loss": 6.0})
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2, 3, 4]
    resumed = Recorder(path)
    resumed.log(2, {"loss": 0.5})
    resumed.log(3, {"loss": 0.25})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 1, 2, 3]
    assert [line["loss"] for line in lines] == [10.0, 9.0, 0.5, 0.25]
    assert lines == resumed.lines


def test_how_fast_it_was_is_recorded_and_no_part_of_the_output(root):
    def compute(run):
        for step, (rate, memory) in enumerate([(1.0, 0.2), (5.0, 0.4), (3.0, 0.3)]):
            figures = {"system/samples_per_second": rate, "system/peak_memory_gib": memory}
            run.recorder.log(step, {"loss": 1.0 - step / 10} | figures)
        return {}

    execute("scenes", "train", compute, root)
    paths = Paths(root, "tiny", "scenes", "train")
    lines = [json.loads(line) for line in (paths.out / "history.jsonl").read_text().splitlines()]
    assert lines == [{"step": step, "loss": 1.0 - step / 10} for step in range(3)]
    record = json.loads(paths.record.read_text())
    assert record["speed"] == {"samples_per_second": 3.0, "peak_memory_gib": 0.4}
    assert record["environment"]["cores"] >= 1 and record["environment"]["torch"][0].isdigit()


def test_a_manifest_does_not_depend_on_when_or_where(root, tmp_path_factory):
    texts = []
    for _ in range(2):
        place = tmp_path_factory.mktemp("out")
        (place / "b").write_text("2")
        (place / "a").write_text("1")
        manifest.write_manifest(place, {"stage": "scenes"})
        texts.append((place / "MANIFEST.json").read_text())
    assert texts[0] == texts[1]
