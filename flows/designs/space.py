"""The space a sweep searches: what each part of a design may be, and what else may vary.
`sweep.space` of params.yaml lists it; the default is the paper's grid of 144 designs."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from data_registry.cards.datasets import training_sets
from data_registry.errors import InputError, nearest
from flows.designs.design import Design, parse, spell_value

if TYPE_CHECKING:
    from optuna import Trial

NONE = "none"
PARTS = ("encoders", "llm", "stage0", "stage1", "stage2")
# The other parts while one is checked, so that the message is about that one.
_SOUND = {"encoders": "clip", "llm": "vicuna-7b", "stage0": NONE, "stage1": "cc558k", "stage2": "mix665k"}


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high` in `steps` steps, evenly or (log) by a constant factor, with two digits each.

    A finite list, so that a value has one spelling, a design one name, and what was computed is found again.
    """

    low: float
    high: float
    steps: int
    log: bool = False

    def __post_init__(self) -> None:
        if self.steps < 2 or not self.low < self.high or (self.log and self.low <= 0):
            raise InputError(
                f"params.yaml: sweep.space.settings: {self}: low < high and at least 2 steps (and low > 0 where log)"
            )

    def spelled(self) -> list[str]:
        """The values as in a design's name."""
        shares = [step / (self.steps - 1) for step in range(self.steps)]
        if self.log:
            values = [self.low * (self.high / self.low) ** share for share in shares]
        else:
            values = [self.low + (self.high - self.low) * share for share in shares]
        return list(dict.fromkeys(spell_value(float(f"{value:.1e}")) for value in values))


@dataclass(frozen=True)
class Space:
    """Choices for each part of a design, spelled as in its name, and values for keys of the `instruct` section.

    Attributes:
        stage0: "none" or "<data>-<objective>".
        settings: {spelling: values}, e.g. {"fraction": ["1of9", "1of3"], "lr": [1.0e-3]}, or a range of numbers
            {low, high, steps, log}. A stage 2 data set by name gives the share of it that is read.
        when: {setting: {part: choices}}: the setting varies only where each of these parts has one of these choices.
    """

    encoders: list[str] = field(default_factory=lambda: ["clip", "clip+mae", "clip+dinov2"])
    llm: list[str] = field(default_factory=lambda: ["vicuna-7b", "llama3-8b"])
    stage0: list[str] = field(default_factory=lambda: [NONE, "3di-pb-oi1m-clip", "3di-pb-oi1m-ntp"])
    stage1: list[str] = field(
        default_factory=lambda: ["cc558k", "cc558k+3di-ft1m", "cc558k+3di-pb-oi1m", "cc558k+3di-pb-in166k"]
    )
    stage2: list[str] = field(default_factory=lambda: ["mix665k", "mix665k+3di-ft1m"])
    settings: dict[str, list[Any] | Range] = field(default_factory=dict)
    when: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for setting, conditions in self.when.items():
            if setting not in self.settings:
                where = f"params.yaml: sweep.space.when.{setting}"
                raise InputError(f"{where}: no such setting, {_near(setting, self.settings)}")
            for part, values in conditions.items():
                if part not in PARTS:
                    raise InputError(f"params.yaml: sweep.space.when.{setting}.{part}: {_near(part, PARTS)}")
                for value in values:
                    if value not in getattr(self, part):
                        where = f"params.yaml: sweep.space.when.{setting}.{part}"
                        known = getattr(self, part)
                        raise InputError(f"{where}: {value!r} is not in the space, {nearest(value, known)}")
        for name, values in self.choices().items():
            if not values:
                raise InputError(f"params.yaml: sweep.space.{name}: empty; give it at least one choice")
            if len(set(values)) < len(values):
                raise InputError(f"params.yaml: sweep.space.{name}: a choice is listed twice")
        for part in PARTS:
            for value in getattr(self, part):
                try:
                    self.design({**_SOUND, part: value})
                except InputError as error:
                    raise InputError(f"params.yaml: sweep.space.{part}: {error}") from None

    def choices(self) -> dict[str, list[str]]:
        """Every dimension with its choices as spelled in a design's name."""
        parts = {part: list(getattr(self, part)) for part in PARTS}
        return parts | {
            key: values.spelled() if isinstance(values, Range) else [_spelled(value) for value in values]
            for key, values in self.settings.items()
        }

    def size(self) -> int:
        """How many designs it holds."""
        return sum(1 for _ in self.designs())

    def designs(self) -> Iterator[Design]:
        """Every design, each once, in the order of the choices."""
        choices = self.choices()
        seen = set()
        for values in itertools.product(*choices.values()):
            design = self.design(dict(zip(choices, values, strict=True)))
            if design not in seen:
                seen.add(design)
                yield design

    def design(self, chosen: Mapping[str, str]) -> Design:
        """The design of one choice per dimension; choices that do not apply to it (`applies`) may be there or not."""
        fields = [chosen[part] for part in PARTS if self.applies(part, chosen)]
        settings = [f"{key}={chosen[key]}" for key in self.settings if key in chosen and self.applies(key, chosen)]
        return parse("_".join([choice for choice in fields if choice != NONE] + settings))

    def applies(self, dimension: str, chosen: Mapping[str, str]) -> bool:
        """Whether a dimension is one of a design with these parts.

        Stage 0 adapts CLIP, so without CLIP there is none; a data set's share needs the data set; the rest is `when`.
        """
        if dimension == "stage0":
            return "clip" in chosen["encoders"].split("+")
        if dimension in training_sets() and dimension not in chosen["stage2"].split("+"):
            return False
        return all(chosen[part] in values for part, values in self.when.get(dimension, {}).items())

    def suggest(self, trial: "Trial") -> Design:
        """The design an Optuna trial proposes; only what applies is asked for."""
        chosen: dict[str, str] = {}
        for name, values in self.choices().items():
            if self.applies(name, chosen):
                chosen[name] = trial.suggest_categorical(name, values)
        return self.design(chosen)

    def params_of(self, design: Design) -> dict[str, str]:
        """The choices that lead to a design, for Optuna's `enqueue_trial`."""
        parts = {
            "encoders": "+".join(design.encoders),
            "llm": design.llm,
            "stage0": design.stage0 or NONE,
            "stage1": "+".join(design.stage1),
            "stage2": "+".join(design.stage2),
        }
        for name, value in parts.items():
            if value not in getattr(self, name):
                raise InputError(
                    f"design {design.name!r}: its {name} {value!r} is not in the space, "
                    f"{nearest(value, getattr(self, name))}"
                )
        chosen = parts | dict(design.settings)
        return {name: chosen[name] for name in self.choices() if name in chosen and self.applies(name, parts)}


def _near(name: str, known: Iterable[str]) -> str:
    return nearest(name, list(known)) if known else "there are none"


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else spell_value(value)
