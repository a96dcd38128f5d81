"""The space a sweep searches: what each part of a design may be, and what else may vary.
`sweep.space` of params.yaml lists it; the default is the paper's grid of 144 designs."""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from data_registry.errors import InputError, nearest
from flows.design import Design, parse, spell_value

if TYPE_CHECKING:
    from optuna import Trial

NONE = "none"
PARTS = ("encoders", "llm", "stage0", "stage1", "stage2")
# The other parts while one is checked, so that the message is about that one.
_SOUND = {"encoders": "clip", "llm": "vicuna-7b", "stage0": NONE, "stage1": "cc558k", "stage2": "mix665k"}


@dataclass(frozen=True)
class Space:
    """Choices for each part of a design, spelled as in its name, and values for keys of the `instruct` section.

    Attributes:
        stage0: "none" or "<data>-<objective>".
        settings: {spelling: values}, e.g. {"frac": ["1of9", "1of3"], "lr": [1.0e-3]}.
    """

    encoders: list[str] = field(default_factory=lambda: ["clip", "clip+mae", "clip+dinov2"])
    llm: list[str] = field(default_factory=lambda: ["vicuna-7b", "llama3-8b"])
    stage0: list[str] = field(default_factory=lambda: [NONE, "3di-pb-oi1m-clip", "3di-pb-oi1m-ntp"])
    stage1: list[str] = field(
        default_factory=lambda: ["cc558k", "cc558k+3di-ft1m", "cc558k+3di-pb-oi1m", "cc558k+3di-pb-in166k"]
    )
    stage2: list[str] = field(default_factory=lambda: ["mix665k", "mix665k+3di-ft1m"])
    settings: dict[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
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
        return parts | {key: [_spelled(value) for value in values] for key, values in self.settings.items()}

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
        """The design of one choice per dimension. Stage 0 adapts CLIP, so without CLIP there is none."""
        stage0 = chosen["stage0"]
        if "clip" not in chosen["encoders"].split("+"):
            stage0 = NONE
        fields = [chosen["encoders"], chosen["llm"], stage0, chosen["stage1"], chosen["stage2"]]
        settings = [f"{key}={chosen[key]}" for key in self.settings if key in chosen]
        return parse("_".join([one for one in fields if one != NONE] + settings))

    def suggest(self, trial: "Trial") -> Design:
        """The design an Optuna trial proposes."""
        return self.design({name: trial.suggest_categorical(name, values) for name, values in self.choices().items()})

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
        return parts | dict(design.settings)


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else spell_value(value)
