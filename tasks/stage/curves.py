"""Training curves as tables that `dvc plots` reads. They lie beside the outputs, not in them: an output with one more
file would have another digest, and all that was made from it would be computed again."""

import json
from pathlib import Path

from tasks.identity.files import write_text
from tasks.identity.paths import Paths

FOLDER = "metrics"


def table_of(paths: Paths) -> Path:
    """Where the table of a stage run's curves is."""
    return paths.root / FOLDER / paths.scale / paths.stage / f"{paths.name}.tsv"


def write_table(paths: Paths) -> bool:
    """Write the table of a published training, a row per logged step; returns whether it has curves."""
    history = paths.out / "history.jsonl"
    if not history.is_file():
        return False
    rows = [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([str(row.get(key, "")) for key in columns] for row in rows)]
    text = "".join("\t".join(line) + "\n" for line in lines)
    table = table_of(paths)
    if not table.is_file() or table.read_text(encoding="utf-8") != text:
        write_text(table, text, durable=False)
    return True
