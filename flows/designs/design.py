"""A design: one point of the study's space, and its name.
The name says everything, so it can be typed, read in MLflow, and used as a folder."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

from data_registry.cards.datasets import training_sets
from data_registry.errors import InputError, nearest
from data_registry.paper import TABLE_2
from model.zoo import ENCODERS, LLMS
from tasks.stage.early_stop import FRAC

OBJECTIVES = ("clip", "ntp")
BLIND = "blind"

Value = int | float | str


@dataclass(frozen=True)
class Design:
    """Vision encoders, LLM, stage 0, stage 1 data, stage 2 data, and what a sweep sets beyond them.

    Attributes:
        encoders: none for a blind design, which sees no image and so has no stage 1.
        stage0: "" or "<data>-<objective>"; adapts CLIP.
        settings: (spelling, value) as in the name, e.g. ("lr", "15e-5"); they apply to stage 2. A data set as key
            is the share of it that stage 2 reads, e.g. ("3di-ft1m", "1of2"); ("frac", "1of9") stops stage 2 after a
            ninth of its steps.
    """

    encoders: tuple[str, ...]
    llm: str
    stage0: str
    stage1: tuple[str, ...]
    stage2: tuple[str, ...]
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """`clip+dinov2_llama3-8b_cc558k_mix665k`, with stage 0 as a field before the stage 1 data."""
        fields = ["+".join(self.encoders) or BLIND, self.llm, self.stage0, "+".join(self.stage1), "+".join(self.stage2)]
        return "_".join([f for f in fields if f] + [f"{key}={value}" for key, value in self.settings])

    @property
    def blind(self) -> bool:
        """Whether it is trained and scored without images."""
        return not self.encoders

    @property
    def overrides(self) -> dict[str, Value]:
        """The settings as keys and values of params.yaml's `instruct` section."""
        return {key: read_value(value) for key, value in self.settings if key not in (*training_sets(), FRAC)}

    @property
    def frac(self) -> Value:
        """The share of stage 2's training that it does: 1 unless a rung of a sweep stops it."""
        return read_value(dict(self.settings).get(FRAC, "1"))

    @property
    def shares(self) -> dict[str, Value]:
        """The share of each stage 2 data set that is read, for those of which a part is: {"3di-ft1m": 0.5}."""
        return {key: read_value(value) for key, value in self.settings if key in training_sets()}

    @property
    def row(self) -> int | None:
        """Its row in the paper's Table 2, if it has one."""
        return next((row for row, design in ROWS.items() if design == self), None)


def stage0_parts(stage0: str) -> tuple[str, str]:
    """ "3di-pb-oi1m-ntp" -> ("3di-pb-oi1m", "ntp")."""
    data, _, objective = stage0.rpartition("-")
    return data, objective


def parse(name: str) -> Design:
    """A design from its name; InputError names the part that is unknown and the nearest known one."""
    fields, settings = split(name)
    blind = fields[:1] == [BLIND]
    if len(fields) not in ((3,) if blind else (4, 5)):
        form = "blind_LLM_DATA" if blind else "ENCODERS_LLM[_DATA-OBJECTIVE]_STAGE1DATA_STAGE2DATA"
        raise InputError(f"design {name!r}: {len(fields)} fields; a design is {form}, each field's parts joined by +")
    known = training_sets()
    encoders = () if blind else _parts(fields[0], "vision encoder", ENCODERS, name)
    llm = _known(fields[1], "LLM", LLMS, name)
    stage0 = fields[2] if len(fields) == 5 else ""
    if stage0:
        data, objective = stage0_parts(stage0)
        _known(data, "stage 0 data set", known, name)
        _known(objective, "stage 0 objective", OBJECTIVES, name)
        if "clip" not in encoders:
            raise InputError(f"design {name!r}: stage 0 adapts clip, which is not among its encoders")
    stage1 = () if blind else _parts(fields[-2], "stage 1 data set", known, name)
    stage2 = _parts(fields[-1], "stage 2 data set", known, name)
    _check_settings(settings, stage2, name)
    return Design(encoders, llm, stage0, stage1, stage2, tuple(settings))


def split(name: str) -> tuple[list[str], list[tuple[str, str]]]:
    """The fields of a design's name and the settings behind them, as (key, value).

    A key may have `_` in it (`muon_lr=1e-3`), as the fields are separated by it. Values have none, so a later key is
    all that stands behind the value before; the first one is what is left when the design has its fields.
    """
    fields: list[str] = []
    settings: list[tuple[str, str]] = []
    behind: list[str] = []  # since the last value
    for word in name.split("_"):
        if "=" not in word:
            behind.append(word)
            continue
        if not settings:
            count = _count_of(behind)
            fields, behind = behind[:count], behind[count:]
        key, _, value = word.partition("=")
        settings.append(("_".join([*behind, key]), value))
        behind = []
    if settings and behind:
        raise InputError(f"design {name!r}: {'_'.join(behind)!r} stands behind the settings; these come last")
    return fields or behind, settings


def _count_of(words: list[str]) -> int:
    """How many fields a design has whose name goes on like this: with stage 0 one more."""
    if words[:1] == [BLIND]:
        return 3
    if len(words) < 5 or _are_data(words[2]):
        return 4
    return 5 if stage0_parts(words[2])[1] in OBJECTIVES or _are_data(words[4]) else 4


def _are_data(field: str) -> bool:
    return set(field.split("+")) <= set(training_sets())


def _check_settings(settings: list[tuple[str, str]], stage2: tuple[str, ...], name: str) -> None:
    known = training_sets()
    if len(dict(settings)) < len(settings):
        raise InputError(f"design {name!r}: a setting is given twice")
    for key, value in settings:
        _check_setting(key, value, name)
        if key in known and key not in stage2:
            raise InputError(f"design {name!r}: {key}={value} is a share of a data set that its stage 2 does not read")
        if key in (*known, FRAC) and not (isinstance(share := read_value(value), int | float) and 0 < share < 1):
            raise InputError(f"design {name!r}: {key}={value}: a share is above 0 and below 1 (1of2, 25e-2)")


def read_value(text: str) -> Value:
    """The value of a setting: "1of9" is a ninth, "15e-5" a number; a dot would break DVC's parameter paths."""
    if (share := _fraction(text)) is not None:
        return round(float(share), 12)
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    if re.fullmatch(r"-?\d+e-?\d+", text):
        return float(text)
    return text


def spell_value(value: Value) -> str:
    """The dotless spelling of a value: 0.00015 -> "15e-5", 3 -> "3", "cosine" -> "cosine"."""
    if isinstance(value, float):
        sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
        return f"{'-' if sign else ''}{''.join(map(str, digits))}e{exponent}"
    return str(value)


def choose(wanted: Iterable[int | str], scale: str = "paper") -> list[Design]:
    """Designs by row of Table 2 (`at_scale`), by name, or `blind` (row 8 without images); in this order, each once."""
    designs = []
    for name in wanted:
        if isinstance(name, int) or str(name).isdigit():
            if int(name) not in ROWS:
                raise InputError(f"row {name}: Table 2 has the rows 1 to {len(ROWS)}")
            designs.append(at_scale(ROWS[int(name)], scale))
        elif name == BLIND:
            designs.append(at_scale(BLIND_REFERENCE, scale))
        else:
            designs.append(parse(name))
    return list(dict.fromkeys(designs))


def at_scale(design: Design, scale: str) -> Design:
    """The design with what a scale has of its parts. Where that is nothing, the scale's own stand in: at small scale
    one encoder and one LLM, so that a row of Table 2 is its data there; stage 0 goes with CLIP."""
    encoders = _there(design.encoders, ENCODERS, scale)
    (llm,) = _there((design.llm,), LLMS, scale)
    return replace(design, encoders=encoders, llm=llm, stage0=design.stage0 if "clip" in encoders else "")


def listed_designs(params: Mapping[str, Any]) -> list[Design]:
    """The designs that params.yaml keeps in the plan (`designs`)."""
    wanted = params.get("designs") or []
    if not isinstance(wanted, list) or not all(isinstance(name, int | str) for name in wanted):
        raise InputError(f"params.yaml: designs: expected a list of rows and names of designs, found {wanted!r}")
    try:
        return choose(wanted, str(params.get("scale", "paper")))
    except InputError as error:
        raise InputError(f"params.yaml: designs: {error}") from None


def _check_setting(key: str, value: str, name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", key) or not re.fullmatch(r"[A-Za-z0-9+-]+", value):
        raise InputError(f"design {name!r}: '{key}={value}' is not KEY=VALUE with a dotless value (1of9, 15e-5, 3)")
    if (spelled := reduced(value)) != value:
        raise InputError(f"design {name!r}: write {key}={spelled} instead of {key}={value}")


def reduced(value: str) -> str:
    """The one spelling of what a setting says: 2of6 is 1of3, 10e-4 is 1e-3."""
    if (share := _fraction(value)) is not None:
        return f"{share.numerator}of{share.denominator}"
    return spell_value(read_value(value))


def _fraction(text: str) -> Fraction | None:
    match = re.fullmatch(r"(\d+)of([1-9]\d*)", text)
    return Fraction(int(match[1]), int(match[2])) if match else None


def _parts(field: str, kind: str, known: Collection[str], name: str) -> tuple[str, ...]:
    parts = tuple(_known(part, kind, known, name) for part in field.split("+"))
    ordered = tuple(sorted(set(parts), key=list(known).index))
    if parts != ordered:  # one spelling per design, so that it is computed once
        raise InputError(f"design {name!r}: write {'+'.join(ordered)} instead of {field}")
    return parts


def _there(parts: tuple[str, ...], table: Mapping[str, Mapping[str, object]], scale: str) -> tuple[str, ...]:
    own = [part for part, scales in table.items() if scale in scales]
    return tuple(part for part in parts if part in own) or tuple(own[: min(1, len(parts))])


def _known(part: str, kind: str, known: Collection[str], name: str) -> str:
    if part not in known:
        raise InputError(f"design {name!r}: unknown {kind} {part!r}, {nearest(part, known)}")
    return part


ROWS = {r.row: Design(r.encoders, r.llm, r.stage0, r.stage1, r.stage2) for r in TABLE_2}
ROADMAP = tuple(r.row for r in TABLE_2 if r.roadmap)
BLIND_REFERENCE = parse("blind_llama3-8b_mix665k+3di-ft1m")
