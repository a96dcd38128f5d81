"""The results in README.md and docs/results.md, written from reports/ so that they cannot drift from what was measured.
The text between each pair of markers is replaced; everything else in the file is left alone."""

from pathlib import Path
from typing import Any

from data_registry.errors import InputError
from data_registry.paper import CLASSES
from tasks.identity.files import read_state
from tasks.report import sweep
from tasks.report.html import signed
from tasks.report.names import label


def update(readme: Path, reports: Path) -> bool:
    """Write the results of `reports` into the sections that `readme` has markers for; whether anything changed.

    Raises:
        InputError: there are no markers, or one is missing or there twice, or a report is missing.
    """
    text = readme.read_text(encoding="utf-8")
    new = written(text, reports, str(readme))
    if new == text:
        return False
    readme.write_text(new, encoding="utf-8")
    return True


def written(text: str, reports: Path, where: str) -> str:
    """A text with its sections as `reports` has them; `where` it is from, for errors."""
    there = [name for name in SECTIONS if any(mark in text for mark in markers(name))]
    for name in there or SECTIONS:
        begin, end = markers(name)
        if text.count(begin) != 1 or text.count(end) != 1:
            raise InputError(f"{where}: needs the two lines {begin} and {end}, each once, around its section")
        head, rest = text.split(begin)
        text = f"{head}{begin}\n{section(name, reports)}{end}{rest.split(end)[1]}"
    return text


def markers(name: str) -> tuple[str, str]:
    """The lines before and after a section."""
    return f"<!-- {name}: written by `python -m tasks.report readme` -->", f"<!-- end of {name} -->"


def section(name: str, reports: Path) -> str:
    """A section as Markdown."""
    return "\n".join(SECTIONS[name](reports)).rstrip() + "\n"


def _roadmap(reports: Path) -> list[str]:
    results = _read(reports / "roadmap", "make roadmap")
    return [*_table(results), "", *_sentences(results)]


_FROM_GIT = "`git checkout` brings back the committed one"


def _read(folder: Path, command: str) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.exists():
        raise InputError(f"{path} is missing; `{command}` writes it")
    return read_state(path, dict, f"`{command}` writes it anew")


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


def _seeds(reports: Path) -> list[str]:
    """Every design under every training seed, as it came out: average (distance / orientation / relation)."""
    seeds = {p.stem: read_state(p, dict, _FROM_GIT) for p in sorted((reports / "seeds").glob("*.json"))}
    if not seeds:
        return []
    names = [name.replace("-", " ") for name in seeds]
    lines = [
        "Average (distance / orientation / relation) under other training seeds.",
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


def _sweep(reports: Path) -> list[str]:
    results = _read(reports / "sweep-tiny", "spatialllm sweep --study tiny")
    runs, hours, best, effects = (results[key] for key in ("training_runs", "hours", "best", "effects"))
    lines = [
        f"{results['designs']} designs, trained and scored in {runs['shared']} training runs instead of "
        f"{runs['naive']} and {hours['shared']:.1f} {results['unit']} hours instead of {hours['naive']:.1f}. "
        f"The best is `{best['design']}` with **{100 * best['value']:.1f} %**. What each part is worth with all other "
        f"parts the same (by least squares; together they explain {100 * effects['explained']:.0f} % of the variance):",
        "",
        "| Part | Variance | Points over its first choice |",
        "|---|--:|---|",
    ]
    for part in effects["parts"]:
        first, *others = ((sweep.spell(part["name"], choice["name"]), choice["effect"]) for choice in part["choices"])
        choices = "; ".join([f"{first[0]} 0", *(f"{name} **{_points(effect)}**" for name, effect in others)])
        lines.append(f"| {sweep.title(part['name'])} | {100 * part['share']:.1f} % | {choices} |")
    for pair in [pair for pair in effects["pairs"] if pair["share"] >= sweep.DEPEND][:3]:
        first_part, second_part = pair["one"], pair["two"]
        cells = [
            f"{sweep.spell(first_part, a)} with {sweep.spell(second_part, b)} {100 * mean:.1f}"
            for a, row in pair["cells"].items()
            for b, mean in row.items()
        ]
        more = f"{100 * pair['share']:.1f} % of the variance beyond both"
        both = f"{sweep.title(first_part)} and {sweep.title(second_part)}"
        lines += ["", f"{both[0].upper()}{both[1:]} depend on each other ({more}): {', '.join(cells)}."]
    lines += ["", "The Pareto front of accuracy and of what a design costs alone:", ""]
    lines += [f"| Design | Accuracy | {results['unit'].capitalize()} hours |", "|---|--:|--:|"]
    on_front = sorted((trial for trial in results["trials"] if trial["on_front"]), key=lambda trial: trial["hours"])
    lines += [f"| `{t['design']}` | {100 * t['value']:.1f} % | {t['hours']:.3f} |" for t in on_front]
    return lines


def _points(effect: float | None) -> str:
    return "not told apart" if effect is None else signed(100 * effect)


SECTIONS = {"results": _roadmap, "seeds": _seeds, "sweep": _sweep}
