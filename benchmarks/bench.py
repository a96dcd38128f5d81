"""Records a benchmark in benchmarks/results/NAME.json: ours, the peer's, their ratio, the command and the machine.
Each benchmarks/NAME.py measures both sides in one run and calls `record`; `make bench-NAME` runs it."""

import json
from datetime import UTC, datetime
from pathlib import Path

from tasks.stage.environment import machine

RESULTS = Path(__file__).parent / "results"


def record(
    name: str,
    *,
    ours: float,
    peer: float | None,
    unit: str,
    command: str,
    peer_name: str = "",
    higher_is_better: bool = True,
    **details,
) -> Path:
    """Write and print `benchmarks/results/<name>.json`; the file's path is returned.

    Args:
        ours, peer: the same quantity in `unit`, measured in one run; peer None where nothing compares.
        command: what a reader types to repeat it, e.g. "make bench-scenes".
        peer_name: what the peer is, with its version.
        higher_is_better: False for times and memory. `ratio` is how many times better we are, either way.
        details: whatever else a reader needs (sizes, versions, curves); must be JSON.
    """
    ratio = None if peer is None else (ours / peer if higher_is_better else peer / ours)
    result = {
        "name": name,
        "ours": ours,
        "peer": peer,
        "ratio": None if ratio is None else round(ratio, 3),
        "unit": unit,
        "peer_name": peer_name,
        "command": command,
        "machine": machine(),
        "measured": datetime.now(UTC).strftime("%Y-%m-%d"),
        **details,
    }
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    against = f", {result['ratio']:g}x {peer_name or 'the peer'} ({peer:.4g})" if ratio is not None else ""
    print(f"{name}: {ours:.4g} {unit}{against}")
    return path
