"""The plan: the stage runs that a set of designs needs, each once.
plan.yaml is this plan written down; dvc.yaml and the flow both run from it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_registry.cards import datasets
from data_registry.errors import InputError, nearest
from flows.designs.design import ENCODERS, LLMS, Design, stage0_parts
from tasks.identity import settings
from tasks.identity.files import write_text
from tasks.identity.names import check_plan
from tasks.identity.settings import NO_SLOTS, PARAMS_FILE, PLAN_END, PLAN_FILE, read_entries
from tasks.stage.early_stop import FRAC
from tasks.stages import LIST, STAGES, Entry, spec, spec_of

POSE_ENCODER = "dinov2"  # whose features pseudo-annotation reads poses from
BENCHMARK, BASELINES = "benchmark/spatialvqa", "baselines/spatialvqa"
_HEADER = (
    "# Written by `spatialllm`: the stage runs of the designs asked for, each once. Delete it to begin anew. "
    f"It ends with `{PLAN_END}`.\n"
)


@dataclass
class Plan:
    """Stage runs by stage and name.

    Attributes:
        entries: {stage: {name: entry}}. An entry has `parts` (its identity), slots whose values are other stage runs
            written "stage/name", and what only dvc.yaml reads (`NO_SLOTS`): `empty`, slots that hold padding only, and
            `section`, the part of params.yaml that it watches.
    """

    entries: dict[str, dict[str, Entry]] = field(default_factory=lambda: {stage: {} for stage in STAGES})

    def add(self, run: str, entry: Entry) -> str:
        """Add the stage run "stage/name" unless it is there; returns `run`."""
        stage, _, name = run.partition("/")
        spec(stage)
        self.entries.setdefault(stage, {}).setdefault(name, entry)
        return run

    def runs(self) -> list[str]:
        """Every stage run "stage/name", inputs before what reads them."""
        return [f"{stage}/{name}" for stage in STAGES for name in self.entries.get(stage, {})]

    def entry(self, run: str) -> Entry:
        """The entry of "stage/name"."""
        stage, _, name = str(run).partition("/")
        if name not in self.entries.get(stage, {}):
            raise InputError(f"{PLAN_FILE}: has no {run}, which another stage run reads; delete the file to begin anew")
        return self.entries[stage][name]

    def needs(self, run: str) -> list[str]:
        """The stage runs whose outputs this one reads."""
        return list(dict.fromkeys(_inputs(self.entry(run))))

    def closure(self, targets: Iterable[str]) -> list[str]:
        """The targets and all they need, inputs first."""
        wanted, stack = set(), list(targets)
        while stack:
            run = stack.pop()
            if run not in wanted:
                wanted.add(run)
                stack.extend(self.needs(run))
        return [run for run in self.runs() if run in wanted]

    def training_runs(self) -> list[str]:
        """Its stage 0, 1 and 2 runs."""
        return [run for run in self.runs() if spec_of(run).trains_on]

    def only(self, targets: Iterable[str]) -> "Plan":
        """The part of it that some stage runs need."""
        part = Plan()
        for run in self.closure(targets):
            part.add(run, self.entry(run))
        return part

    def merge(self, other: "Plan") -> "Plan":
        """Both plans' stage runs; an entry of `other` replaces one of the same name."""
        merged = Plan()
        for stage in STAGES:
            merged.entries[stage] = {**self.entries.get(stage, {}), **other.entries.get(stage, {})}
        return merged


def plan_of(designs: Iterable[Design]) -> Plan:
    """The plan of a set of designs: their training and score runs, and the data, models and references these need."""
    plan = Plan()
    for design in designs:
        _add_score(plan, design)
        _add_from_outside(plan, design)
    for encoder in ENCODERS:
        if encoder in plan.entries["foundation"]:
            slots = {"encoder": f"foundation/{encoder}", "train": "scenes/train", "test": "scenes/test"}
            plan.add(f"probe/{encoder}", {"parts": {"encoder": encoder}, **slots})
    return _ordered(plan)


def annotation_of(name: str) -> Plan:
    """The plan of a pseudo-annotation: the pictures that params.yaml calls `name`, and the pose head that it needs."""
    plan = Plan()
    encoder = _foundation(plan, POSE_ENCODER)
    slots = {"encoder": encoder, "train": _scenes(plan, "pose-train"), "test": _scenes(plan, "pose-test")}
    pose = plan.add(f"pose/{POSE_ENCODER}", {"parts": {"encoder": POSE_ENCODER}, **slots})
    parts = {"pictures": name, "encoder": POSE_ENCODER}
    plan.add(f"annotate/{name}", {"parts": parts, "encoder": encoder, "pose": pose})
    return plan


def training_runs_naive(designs: Iterable[Design]) -> int:
    """Training runs if every design were trained on its own."""
    return sum(1 + (not design.blind) + bool(design.stage0) for design in designs)


def align_name(design: Design) -> str:
    """Name of a design's stage 1 run."""
    return "_".join(f for f in ("+".join(design.encoders), design.llm, design.stage0, "+".join(design.stage1)) if f)


def adapt_name(design: Design) -> str:
    """Name of a design's stage 0 run; the LLM is part of it only where its loss is the next token's."""
    return f"clip_{design.stage0}" + (f"_{design.llm}" if stage0_parts(design.stage0)[1] == "ntp" else "")


def design_runs(design: Design) -> dict[str, str]:
    """A design's own stage runs by stage: {"adapt": "adapt/...", "align": ..., "instruct": ..., "score": ...}."""
    runs = {"instruct": f"instruct/{design.name}", "score": f"score/{design.name}"}
    if not design.blind:
        runs["align"] = f"align/{align_name(design)}"
    if design.stage0:
        runs["adapt"] = f"adapt/{adapt_name(design)}"
    return {stage: runs[stage] for stage in STAGES if stage in runs}


def read_plan(root: Path) -> Plan:
    """plan.yaml, or an empty plan where there is none."""
    if (root / PARAMS_FILE).is_file():
        settings.load(root)  # with the extensions that it names, whose stages the plan may have
    plan = Plan()
    for stage, entries in read_entries(root).items():
        if stage not in STAGES and entries:
            raise InputError(
                f"{PLAN_FILE}: plan.{stage}: unknown stage, {nearest(stage, STAGES)}; name the folder that brings it "
                f"in {PARAMS_FILE} (extensions), or delete it from {PLAN_FILE} and dvc.yaml"
            )
        plan.entries[stage] = entries
    for name, entry in plan.entries["data"].items():  # plans written before have none
        entry.setdefault("section", _section(name, {}))
    return plan


def write_plan(root: Path, plan: Plan) -> bool:
    """Write plan.yaml in one deterministic order; returns whether it changed.

    Raises:
        InputError: a name that stage runs cannot have, as it would be refused when read.
    """
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True  # anchors would make each entry depend on the ones above it

    content = {"plan": _ordered(plan).entries}
    check_plan(content["plan"], f"{PLAN_FILE}: plan")
    entries = yaml.dump(content, Dumper=Plain, sort_keys=False, default_flow_style=None, width=10_000)
    text = f"{_HEADER}{entries}{PLAN_END}\n"
    path = root / PLAN_FILE
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_text(path, text)
    return True


def _add_score(plan: Plan, design: Design) -> None:
    llm = _foundation(plan, design.llm)
    encoders = [
        _adapt(plan, design) if design.stage0 and encoder == "clip" else _foundation(plan, encoder)
        for encoder in design.encoders
    ]
    encoders_slot = _padded(encoders, llm)
    empty = {"empty": ["align", "encoders"]} if design.blind else {}
    parts = {
        "encoders": list(design.encoders),
        "llm": design.llm,
        "stage0": design.stage0,
        "stage1": list(design.stage1),
        "stage2": list(design.stage2),
        **({"set": design.overrides} if design.overrides else {}),
        **({"shares": design.shares} if design.shares else {}),
        **({FRAC: design.frac} if design.frac != 1 else {}),
    }
    align = llm if design.blind else _align(plan, design, encoders_slot, llm)
    instruct = plan.add(
        f"instruct/{design.name}",
        {
            "parts": parts,
            "align": align,
            "encoders": encoders_slot,
            "llm": llm,
            "data": _padded([_data(plan, name) for name in design.stage2]),
            "scenes": _scenes(plan, "train"),
            **empty,
        },
    )
    plan.add(
        f"score/{design.name}",
        {
            "parts": {"design": design.name, "encoders": list(design.encoders)},
            "instruct": instruct,
            "encoders": encoders_slot,
            "llm": llm,
            "benchmark": _benchmark(plan),
            "scenes": _scenes(plan, "test"),
            **({"empty": ["encoders"]} if design.blind else {}),
        },
    )


def _add_from_outside(plan: Plan, design: Design) -> None:
    """What stages that are no part of this repository do with a design (`StageSpec.entries`)."""
    runs = design_runs(design)
    for stage, stage_spec in STAGES.items():
        if stage_spec.entries is not None:
            for name, entry in stage_spec.entries(design, runs).items():
                plan.add(f"{stage}/{name}", entry)


def _align(plan: Plan, design: Design, encoders: list[str], llm: str) -> str:
    entry = {
        "parts": {
            "encoders": list(design.encoders),
            "llm": design.llm,
            "stage0": design.stage0,
            "stage1": list(design.stage1),
        },
        "encoders": encoders,
        "llm": llm,
        "data": _padded([_data(plan, name) for name in design.stage1]),
        "scenes": _scenes(plan, "train"),
    }
    return plan.add(f"align/{align_name(design)}", entry)


def _adapt(plan: Plan, design: Design) -> str:
    data, objective = stage0_parts(design.stage0)
    encoder = _foundation(plan, "clip")
    with_llm = objective == "ntp"
    entry = {
        "parts": {
            "encoders": ["clip"],
            "llm": design.llm if with_llm else "",
            "data": [data],
            "objective": objective,
        },
        "encoders": _padded([encoder]),
        "llm": _foundation(plan, design.llm) if with_llm else encoder,
        "data": _padded([_data(plan, data)]),
        "scenes": _scenes(plan, "train"),
        **({} if with_llm else {"empty": ["llm"]}),
    }
    return plan.add(f"adapt/{adapt_name(design)}", entry)


def _foundation(plan: Plan, model: str) -> str:
    return plan.add(f"foundation/{model}", {"parts": {"model": model}})


def _data(plan: Plan, name: str) -> str:
    params = datasets.card(name).params
    own = {"params": params} if params else {}
    entry = {"parts": {"dataset": name, **own}, "section": _section(name, params), "scenes": _scenes(plan, "train")}
    return plan.add(f"data/{name}", entry)


def _section(name: str, params: Mapping[str, Any]) -> str:
    """Which keys of params.yaml: data.SCALE dvc.yaml watches for a data set; DVC refuses those that are not there."""
    return "common" if params else f"each.{name}"


def _scenes(plan: Plan, split: str) -> str:
    return plan.add(f"scenes/{split}", {"parts": {"split": split}})


def _benchmark(plan: Plan) -> str:
    """Every benchmark and its baselines; returns the one that designs are scored on."""
    from data_registry.benchmark.table import BENCHMARKS  # with the question generators, which no other verb needs

    slots = {"scenes": _scenes(plan, "test"), "train": _scenes(plan, "train")}  # train: to prove no image is shared
    data = _padded([_data(plan, "mix665k"), _data(plan, "3di-ft1m")])
    for name in BENCHMARKS:
        run = plan.add(f"benchmark/{name}", {"parts": {"benchmark": name}, **slots})
        plan.add(f"baselines/{name}", {"parts": {"benchmark": name}, "benchmark": run, "data": data})
    return BENCHMARK


def _padded(runs: list[str], padding: str | None = None) -> list[str]:
    filler = runs[0] if runs else padding
    if len(runs) > LIST:
        raise ValueError(f"dvc.yaml has {LIST} slots, not {len(runs)}")
    if filler is None:
        raise ValueError("no stage run to fill dvc.yaml's slots with")
    return runs + [filler] * (LIST - len(runs))


def _inputs(entry: Entry) -> Iterator[str]:
    for slot, value in entry.items():
        if slot not in NO_SLOTS:
            yield from value if isinstance(value, list) else [value]


def _ordered(plan: Plan) -> Plan:
    """Parts in the order of the study's lists, designs by name: the same set of designs gives the same file."""
    order = {name: i for i, name in enumerate(("train", "test", *ENCODERS, *LLMS, *datasets.training_sets()))}
    ordered = Plan()
    for stage in STAGES:
        names = sorted(plan.entries.get(stage, {}), key=lambda name: (order.get(name, len(order)), name))
        ordered.entries[stage] = {name: plan.entries[stage][name] for name in names}
    return ordered
