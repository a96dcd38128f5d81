"""The report of a set of designs: report.html and results.json, written from the files of their score runs.
`build_report` is a pure function of those files; `python -m tasks.report readme` puts the table into README.md."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.identity.files import write_text
from tasks.report.data import Entry
from tasks.report.statistics import RESAMPLES

__all__ = ["Entry", "build_report"]


def build_report(
    root: Path,
    scale: str,
    designs: Sequence[Entry],
    out: Path,
    *,
    blind: str | None = None,
    stage_counts: dict[str, int] | None = None,
    seconds: float | None = None,
    resamples: int = RESAMPLES,
    is_current: Callable[[str], bool] = lambda name: True,
    runtime: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write `out`/report.html and `out`/results.json, and return the results.

    Accuracies and intervals are in percent (0 to 100), differences in points.

    Args:
        root: the repository; score runs are read from root/runs/<scale>/score/<name>.
        designs: in the table's order. One without a score run is named as missing, in the page and under "missing".
        blind: name of the design trained without images, if it is part of the plan.
        stage_counts: {"planned", "executed", "restored"} stage runs of the flow that asks.
        seconds: how long it took. Where both are None, those of a results.json in `out` with the same designs and
            scores are kept: writing a report again is not a new run.
        resamples: of the pictures, for the 95 % intervals.
        runtime: that section of params.yaml, where test scenes stay on S3.
        is_current: whether a design's score, by name, is what params.yaml asks for; one that is not counts as missing.

    Raises:
        InputError: no design has been scored, or a file contradicts another; names the file and what to do.
    """
    from tasks.report.data import collect
    from tasks.report.examples import examples
    from tasks.report.html import page
    from tasks.sources.streams import open_images

    collected = collect(root, scale, designs, blind, stage_counts, seconds, is_current, resamples)
    if stage_counts is None and seconds is None and (out / "results.json").exists():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a merge or a hand broke it; it is written anew
            before = json.loads((out / "results.json").read_text())
            if before["designs"] == collected.results["designs"]:
                collected.results.update({key: before[key] for key in ("stage_runs", "seconds")})
    shown = [*collected.scored, *([collected.blind] if collected.blind else [])]
    scenes = root / "runs" / scale / "scenes" / "test"
    html = page(collected, examples(open_images(runtime or {}, scenes), collected.questions, shown))
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "report.html", html)
    write_text(out / "results.json", json.dumps(collected.results, indent=2, ensure_ascii=False) + "\n")
    return collected.results
