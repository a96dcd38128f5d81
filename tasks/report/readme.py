"""The results in README.md, written from reports/roadmap/results.json so that they cannot drift from what was measured.
The text between the two markers is replaced; everything else in the file is left alone."""

import json
from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from data_registry.paper import CLASSES
from tasks.report.figures import label
from tasks.report.html import signed

BEGIN, END = "<!-- results: written by `python -m tasks.report readme` -->", "<!-- end of results -->"


def update(readme: Path, reports: Path) -> bool:
    """Write the results of `reports`/roadmap (and `reports`/seeds/*.json) into `readme`; whether anything changed."""
    text = readme.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise InputError(f"{readme}: needs the two lines {BEGIN} and {END}, each once, around the results")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    new = f"{head}{BEGIN}\n{section(reports)}{END}{tail}"
    if new == text:
        return False
    readme.write_text(new, encoding="utf-8")
    return True


def section(reports: Path) -> str:
    """The results as Markdown: the table, the paired difference, the checks, and other seeds where there are any."""
    path = reports / "roadmap" / "results.json"
    if not path.exists():
        raise InputError(f"{path} is missing; `make roadmap` writes it")
    results = json.loads(path.read_text())
    seeds = {p.stem: json.loads(p.read_text()) for p in sorted((reports / "seeds").glob("*.json"))}
    return "\n".join([*_table(results), "", *_sentences(results), "", *_seeds(seeds)]).rstrip() + "\n"


def _table(results: dict[str, Any]) -> list[str]:
    lines = [
        "| # | Design | Avg (95 % interval) | Distance | Orientation | Relation | Gain | Paper's Avg |",
        "|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for row in results["designs"]:
        gain = signed(row["gain"]["points"]) if row["gain"] else ""
        paper = "" if row["paper_average"] is None else f"{row['paper_average']:.1f}"
        lines.append(f"| {row['row'] or ''} | {label(row)} | {_cells(row)} | {gain} | {paper} |")
    if results["blind"]:
        lines.append(f"| | *blind: trained without pictures* | {_cells(results['blind'])} | | |")
    for key, name in (
        ("majority", "majority answer"),
        ("lookup", "lookup of the names"),
        ("shortcut_2d", "2D shortcut"),
    ):
        if accuracy := results["baselines"].get(key):
            cells = " | ".join(f"{accuracy[s]:.1f}" if s in accuracy else "" for s in ("average", *CLASSES))
            lines.append(f"| | *{name}* | {cells} | | |")
    return lines


def _cells(row: dict[str, Any]) -> str:
    low, high = row["interval95"]
    classes = " | ".join(f"{row['accuracy'][name]:.1f}" for name in CLASSES)
    return f"**{row['accuracy']['average']:.1f}** ({low:.1f}–{high:.1f}) | {classes}"


def _sentences(results: dict[str, Any]) -> list[str]:
    lines = []
    if paired := results["paired"]:
        gap = paired["difference"]["average"]
        low, high = gap["interval95"]
        rows = " minus ".join(f"row {row}" for row in paired["rows"]) if all(paired["rows"]) else "Last minus first"
        paper = "" if paired["paper"] is None else f"; the paper: {signed(paired['paper'])}"
        lines.append(
            f"{rows[0].upper()}{rows[1:]}: **{signed(gap['points'])} points**, "
            f"95 % interval of the paired difference {signed(low)} to {signed(high)}{paper}."
        )
    if results["missing"]:
        lines.append(f"Not scored yet: {', '.join(f'`{name}`' for name in results['missing'])}.")
    failed = [check for check in results["checks"] if not check["passed"]]
    lines.append(f"Of the report's {len(results['checks'])} checks {len(results['checks']) - len(failed)} hold.")
    lines += [f"Does not hold: {check['claim']} ({check['figures']})." for check in failed]
    return lines


def _seeds(seeds: dict[str, dict[str, Any]]) -> list[str]:
    """Every design under every training seed, as it came out: average (distance / orientation / relation)."""
    if not seeds:
        return []
    names = [name.replace("-", " ") for name in seeds]
    lines = [
        "The same under other training seeds: average (distance / orientation / relation).",
        "",
        f"| # | {' | '.join(names)} |",
        f"|--:|{'--:|' * len(names)}",
    ]
    by_row = [{row["row"]: row["accuracy"] for row in results["designs"]} for results in seeds.values()]
    for number in by_row[0]:
        cells = [_compact(rows[number]) if number in rows else "" for rows in by_row]
        lines.append(f"| {number} | {' | '.join(cells)} |")
    gaps = [results["paired"]["difference"]["average"] for results in seeds.values()]
    shown = [
        f"{signed(gap['points'])} ({signed(gap['interval95'][0])} to {signed(gap['interval95'][1])})" for gap in gaps
    ]
    lines.append(f"| 8 − 1 | {' | '.join(shown)} |")
    return lines


def _compact(accuracy: dict[str, float]) -> str:
    classes = " / ".join(f"{accuracy[name]:.0f}" for name in CLASSES)
    return f"**{accuracy['average']:.1f}** ({classes})"
