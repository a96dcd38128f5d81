"""Which designs a person means: by name, by row of the paper's table, all of the space, or the best one there is."""

from typing import TYPE_CHECKING

from data_registry.errors import InputError
from flows.cli.common import root, settings

if TYPE_CHECKING:
    from flows.designs.design import Design


def designs_of(names: list[str] | None, rows: list[int] | None, all: bool) -> "list[Design]":
    """Designs by name and by row of Table 2, and all of the space; without any, those that params.yaml keeps."""
    from flows.designs.design import choose, listed_designs

    designs = choose([*(rows or []), *(names or [])], settings().scale)
    if all:
        from flows.search.config import read_config

        designs += list(read_config(root()).space.designs())
    return list(dict.fromkeys(designs or listed_designs(settings().params)))


def rows_of(text: str) -> "list[Design]":
    """Rows of Table 2: `roadmap`, `all`, or numbers with commas."""
    from flows.designs.design import ROADMAP, ROWS, choose

    named = {"roadmap": ROADMAP, "all": tuple(ROWS)}
    rows = named.get(text) or [word.strip() for word in text.split(",") if word.strip()]
    if not rows or not all(str(row).isdigit() for row in rows):
        raise InputError(f"--rows {text!r}: give `roadmap`, `all`, or row numbers such as 1,3,8")
    return choose(rows, settings().scale)


def best_design() -> str:
    """The design of plan.yaml with the highest score; the blind reference is none."""
    from flows.designs.plan import read_plan
    from tasks.identity.files import read_json

    scores = {}
    for name in read_plan(root()).entries["score"]:
        metrics = read_json(root() / "runs" / settings().scale / "score" / name / "metrics.json", dict, {})
        if not name.startswith("blind_") and "average" in metrics:
            scores[name] = metrics["average"]
    if not scores:
        raise InputError("no design has been scored yet; run `make roadmap` first")
    return max(sorted(scores), key=scores.__getitem__)
