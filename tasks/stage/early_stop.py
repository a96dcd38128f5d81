"""The scratch of a training that successive halving stopped early, kept so that the next rung goes on with it.
A stage run whose `parts` have `frac` trains as the whole one would and stops after that share of its steps. Its last
checkpoint is kept under what both have in common, so that whichever of them comes next and goes on longer resumes
there. That changes no result: without it the same weights are trained from the first step."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

from tasks.identity import manifest
from tasks.identity.files import read_json, write_json
from tasks.identity.paths import Paths

FRAC = "frac"
STAMP = "identity"  # in a scratch folder: the digest of whose it is
_RUNG = "rung.json"  # in the folder: how far the training came, and what it took
Took = dict[str, float]  # "seconds" of the clock and "processor_s" of this machine's processors


def frac_of(parts: dict[str, Any]) -> float:
    """The share of its training that a stage run does; 1 for most."""
    return float(parts.get(FRAC, 1.0))


def kept_scratch(work: Path, identity: dict[str, Any]) -> Path:
    """Where the scratch of this training is kept between two rungs, beside that of its stage runs."""
    parts = {key: value for key, value in identity["parts"].items() if key != FRAC}
    common = {**identity, "name": "", "parts": parts}  # the name only repeats what parts, parameters and inputs say
    return work.with_name(f".{manifest.digest_of(common)[:16]}.rung")


def adopt_scratch(work: Path, identity: dict[str, Any]) -> bool:
    """Make the kept scratch of the same training this stage run's own, if it was stopped before where this one ends.

    The folder goes to one stage run at most: it is renamed.
    """
    kept = kept_scratch(work, identity)
    if not 0 < _reached(kept) < frac_of(identity["parts"]):
        return False
    try:
        kept.rename(work)
    except FileNotFoundError:  # another was faster
        return False
    return True


def keep_scratch(work: Path, identity: dict[str, Any], took: Took) -> None:
    """Keep a published stage run's scratch for the rungs above; there is none above a whole training's.

    Args:
        took: this stage run's own part.
    """
    kept, frac = kept_scratch(work, identity), frac_of(identity["parts"])
    if frac < 1 and _reached(kept) < frac:
        shutil.rmtree(kept, ignore_errors=True)
        before = time_before(work)
        whole = {key: round(took.get(key, 0.0) + before.get(key, 0.0), 2) for key in {**before, **took}}
        write_json(work / _RUNG, {"frac": frac, "took": whole})
        work.rename(kept)
    else:
        shutil.rmtree(work, ignore_errors=True)
        if frac == 1:
            shutil.rmtree(kept, ignore_errors=True)


def clear_scratch(paths: Paths, identity: dict[str, Any], keep: bool = True) -> None:
    """Remove a published stage run's scratch, also where a kill came between; `keep` it for the rungs above.

    That of another identity stays: its training may go on once its parameters return.
    """
    stamp = paths.work / STAMP
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != manifest.digest_of(identity):
        return
    record = read_json(paths.record, dict, {})
    if keep:
        took = {key: record[key] for key in ("seconds", "processor_s") if key in record}
        keep_scratch(paths.work, identity, took if record.get("identity") == manifest.digest_of(identity) else {})
    else:
        shutil.rmtree(paths.work, ignore_errors=True)


def drop_scratch(paths: Paths) -> None:
    """Remove what a published stage run left for the rungs above: its design goes no further."""
    with contextlib.suppress(manifest.Damaged):
        identity = manifest.read_manifest(paths.out)["identity"]
        shutil.rmtree(kept_scratch(paths.work, identity), ignore_errors=True)


def time_before(work: Path) -> Took:
    """What the stage runs took whose training this scratch goes on with; empty where it begins."""
    return dict(read_json(work / _RUNG, dict, {}).get("took", {}))


def _reached(folder: Path) -> float:
    """The share of its training that a kept scratch has behind it; 0 where none is kept or its record is damaged."""
    return float(read_json(folder / _RUNG, dict, {}).get("frac", 0.0))
