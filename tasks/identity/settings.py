"""params.yaml and plan.yaml, read and checked once at the edge.
Everything a stage run may know about itself comes from here, as plain values with clear errors."""

import copy
import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_registry import extensions
from data_registry.errors import InputError, nearest
from data_registry.ranges import Count, Seed
from tasks.identity.names import check_plan
from tasks.identity.parse import convert, expect, keys
from tasks.identity.runtime import read_runtime

PARAMS_FILE = "params.yaml"
PLAN_FILE = "plan.yaml"
PLAN_END = "# end of the plan"  # the last line of plan.yaml, whose first line says so: YAML cut at a line is YAML
_DEEPEST = 200
SCALES = ("tiny", "small", "paper")
NO_SLOTS = ("parts", "empty", "section")  # keys of a plan's entry that name no other stage run


@dataclass(frozen=True)
class Settings:
    """What params.yaml and plan.yaml say.

    Attributes:
        root: the repository's root, the folder of params.yaml.
        params: params.yaml as it is.
        plan: {stage: {name: entry}}; an entry holds `parts` (identity) and the input slots.
    """

    root: Path
    params: dict[str, Any]
    plan: dict[str, dict[str, dict[str, Any]]]

    @property
    def scale(self) -> str:
        """`tiny`, `small` or `paper`."""
        scale = self.params.get("scale")
        if scale not in SCALES:
            raise InputError(f"{PARAMS_FILE}: scale: {scale!r} is unknown, {nearest(str(scale), SCALES)}")
        return scale

    @property
    def runtime(self) -> dict[str, Any]:
        """How a stage run is computed (slots, threads, addresses), without what is null; never part of an identity."""
        return read_runtime(self.params.get("runtime"), f"{PARAMS_FILE}: runtime")

    @property
    def processes(self) -> int:
        """Processes that share out one training: one per GPU of a stage run, a single one where it is given none."""
        return gpus_per_run(self.runtime, self.scale) if self.runtime.get("gpus") else 1

    def entry(self, stage: str, name: str) -> dict[str, Any]:
        """The plan's entry of a stage run; InputError names the nearest one it has."""
        known = self.plan.get(stage) or {}
        if name not in known:
            hint = nearest(name, known) if known else "it has none of this stage"
            raise InputError(f"{PLAN_FILE}: plan.{stage}: no stage run {name!r}; {hint} (`spatialllm plan` lists them)")
        return known[name]

    def section(self, stage: str, name: str) -> dict[str, Any]:
        """The parameters of a stage run at this scale.

        A section of only `common` and `each` gives `common` overlaid with `each[name]`, so that what concerns one
        stage run alone does not recompute its siblings. Where the plan has `parts.params` (a user's own data set, from
        its card), these stand for `each[name]`. `parts.set` of the plan (what a sweep varies) comes last.
        """
        by_scale = self.params.get(stage)
        where = section_name(stage, self.scale)
        if not isinstance(by_scale, Mapping) or not isinstance(by_scale.get(self.scale), Mapping):
            raise InputError(f"{where}: there is no such section; add it with this stage's parameters")
        section = dict(by_scale[self.scale])
        if set(section) <= {"common", "each"} and "each" in section:
            own_sections = keys(section["each"], f"{where}.each")
            if own := self._own_params(stage, name):
                if name in own_sections:
                    raise InputError(f"{where}.each.{name}: its card has params too; keep one of them")
                own_sections = {name: own}
            if name not in own_sections:
                others = [scale for scale in SCALES if name in ((by_scale.get(scale) or {}).get("each") or {})]
                if others:
                    known = ", ".join(own_sections)
                    raise InputError(f"{where}.each: no key {name!r}, which {others[0]} scale has; here: {known}")
                raise InputError(f"{where}.each: no key {name!r}, {nearest(name, own_sections)}")
            own = keys(own_sections[name], f"{where}.each.{name}")
            section = {**keys(section.get("common"), f"{where}.common"), **own}
        overrides = (self.entry(stage, name).get("parts") or {}).get("set") or {}
        for key in overrides:
            if key not in section:
                raise InputError(
                    f"{PLAN_FILE}: plan.{stage}.{name}.parts.set.{key}: not a key of {stage}.{self.scale} "
                    f"in {PARAMS_FILE}, {nearest(key, section)}"
                )
        return {**section, **overrides}

    def _own_params(self, stage: str, name: str) -> Mapping[str, Any]:
        """The parameters that a stage run's plan entry brings along."""
        parts = (self.plan.get(stage) or {}).get(name, {}).get("parts") or {}
        return keys(parts.get("params"), f"{PLAN_FILE}: plan.{stage}.{name}.parts.params")

    def check(self) -> None:
        """InputError unless there are parameters, a seed and a version for every stage run of the plan."""
        for stage, entries in self.plan.items():
            if entries:
                self.version(stage)
            for name in entries:
                self.seed(stage, name)

    def seed(self, stage: str, name: str) -> int:
        """The stage run's seed: its section's own `seed` (data, foundation), else the one of all training."""
        own = self.section(stage, name).get("seed")
        seed = self.params.get("seed") if own is None else own
        return convert(Seed, seed, f"{PARAMS_FILE}: seed" if own is None else f"{section_name(stage, self.scale)}.seed")

    def version(self, stage: str) -> int:
        """The version of the stage's code, raised by hand with any change that alters its result."""
        versions = keys(self.params.get("versions"), f"{PARAMS_FILE}: versions")
        if versions.get(stage) is None:
            raise InputError(f"{PARAMS_FILE}: versions.{stage}: missing; needs a whole number (1 to begin with)")
        return convert(Count, versions[stage], f"{PARAMS_FILE}: versions.{stage}")


def section_name(stage: str, scale: str) -> str:
    """What to call a stage's parameters in errors."""
    return f"{PARAMS_FILE}: {stage}.{scale}"


def gpus_per_run(runtime: Mapping[str, Any], scale: str) -> int:
    """GPUs of one stage run; the published recipe has eight."""
    return int(runtime.get("gpus_per_run") or (8 if scale == "paper" else 1))


def project_root(start: Path | None = None) -> Path:
    """The project that a folder (default: the current one) is in: the nearest folder upward with params.yaml.

    Raises:
        InputError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / PARAMS_FILE).exists():
            return folder
    raise InputError(f"{start}: no project here: neither it nor a folder above it has {PARAMS_FILE}; change to one")


def load(root: Path | None = None) -> Settings:
    """Read both files from the repository's root (default: the current folder, where DVC runs every command)."""
    root = (root or Path.cwd()).resolve()
    if not (root / PARAMS_FILE).exists():
        raise InputError(f"{root / PARAMS_FILE}: not found; run this from the repository's root")
    params = read_yaml(root / PARAMS_FILE)
    extensions.load(root, params.get("extensions"))
    return Settings(root, params, read_entries(root))


def read_entries(root: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """plan.yaml's stage runs, {stage: {name: entry}}; none where there is no such file.

    Raises:
        InputError: it is not laid out as `spatialllm` writes it, or has a name that stage runs cannot have.
    """
    where = f"{PLAN_FILE}: plan"
    plan = keys(read_yaml(root / PLAN_FILE).get("plan"), where) if (root / PLAN_FILE).exists() else {}
    plan = {stage: dict(keys(entries, f"{where}.{stage}")) for stage, entries in plan.items()}
    for stage, entries in plan.items():
        for name, entry in entries.items():
            expect(isinstance(entry, Mapping), entry, "keys with values", f"{where}.{stage}.{name}")
    check_plan(plan, where)
    return plan


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as DVC reads it (YAML 1.2: `1e-3` is a number, `on` is a word).

    Raises:
        InputError: it cannot be read or is damaged; names the remedy where git has it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line}: not UTF-8; save it in that encoding") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, not a file; move it away") from error
    if not text.strip("\0 \n\r\t"):
        raise InputError(f"{path}: is empty, as a power loss leaves files; {_remedy(path)}")
    if PLAN_END in text.partition("\n")[0] and not text.rstrip().endswith(f"\n{PLAN_END}"):
        raise InputError(f"{path}: is cut off: its last line, `{PLAN_END}`, is missing; {_remedy(path)}")
    if _nested_too_deep(text):  # the parser is written in C and would crash
        raise InputError(f"{path}: lists or keys are nested more than {_DEEPEST} deep; no file of ours is")
    return copy.deepcopy(_parsed(path, text))


def _nested_too_deep(text: str) -> bool:
    steps = itertools.accumulate(1 if sign in "[{" else -1 for sign in re.findall(r"[\[\]{}]", text))
    return max(steps, default=0) > _DEEPEST or re.search(rf"(?:[-?:]\s+){{{_DEEPEST}}}", text) is not None


def _remedy(path: Path) -> str:
    anew = "; or delete it, and the next flow begins it anew" if path.name == PLAN_FILE else ""
    return f"`git checkout {path.name}` brings back the committed one{anew}"


@functools.lru_cache(maxsize=8)  # a flow asks time and again, and parsing a long plan takes fourteen times as long
def _parsed(path: Path, text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise InputError(f"{path}:{line} not valid YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected keys with values at the top level")
    return content
