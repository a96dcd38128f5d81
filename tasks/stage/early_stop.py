"""Training that a rung of a sweep stopped early, and that the next rung goes on with.
A stage run whose `parts` have `frac` trains as the whole one would and stops after that share of its steps. Its last
checkpoint is kept under what both have in common, so that whichever of them comes next and goes further resumes there.
That changes no result: without it the same weights are trained from the first step."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

from tasks.identity import manifest
from tasks.identity.files import write_json
from tasks.identity.paths import Paths

FRAC = "frac"
_NOTE = "stopped.json"  # in the folder: how far the training came, and what it took
Took = dict[str, float]  # "seconds" of the clock and "processor_s" of this machine's processors


def frac_of(parts: dict[str, Any]) -> float:
    """The share of its training that a stage run does; 1 for most."""
    return float(parts.get(FRAC, 1.0))


def folder_of(work: Path, identity: dict[str, Any]) -> Path:
    """Where the scratch of this training is kept once it was stopped, beside that of its stage runs."""
    parts = {key: value for key, value in identity["parts"].items() if key != FRAC}
    common = {**identity, "name": "", "parts": parts}  # the name only repeats what parts, parameters and inputs say
    return work.with_name(f".{manifest.digest_of(common)[:16]}.stopped")


def take(work: Path, identity: dict[str, Any]) -> bool:
    """Make the kept scratch of the same training this stage run's own, if it was stopped before where this one ends.

    The folder goes to one taker at most: it is renamed.
    """
    kept = folder_of(work, identity)
    try:
        if _note(kept)["frac"] >= frac_of(identity["parts"]):
            return False
        kept.rename(work)
    except FileNotFoundError:
        return False
    return True


def leave(work: Path, identity: dict[str, Any], took: Took) -> None:
    """Keep a published stage run's scratch for those that train further; nothing does beyond a whole one's.

    Args:
        took: this stage run's own part.
    """
    kept, frac = folder_of(work, identity), frac_of(identity["parts"])
    if frac < 1 and (not kept.exists() or _note(kept)["frac"] < frac):
        shutil.rmtree(kept, ignore_errors=True)
        before = earlier(work)
        whole = {key: round(value + before.get(key, 0.0), 2) for key, value in took.items()}
        write_json(work / _NOTE, {"frac": frac, "took": whole})
        work.rename(kept)
    else:
        shutil.rmtree(work, ignore_errors=True)
        if frac == 1:
            shutil.rmtree(kept, ignore_errors=True)


def forget(paths: Paths) -> None:
    """Remove what a published stage run left for those that train further: its design was stopped for good."""
    with contextlib.suppress(manifest.Damaged):
        identity = manifest.read_manifest(paths.out)["identity"]
        shutil.rmtree(folder_of(paths.work, identity), ignore_errors=True)


def earlier(work: Path) -> Took:
    """What the stage runs took whose training this scratch goes on with; empty where it begins."""
    return _note(work)["took"] if (work / _NOTE).exists() else {}


def _note(folder: Path) -> dict[str, Any]:
    return json.loads((folder / _NOTE).read_text())
