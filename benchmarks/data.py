"""The data engine: questions and scenes per core-second, and memory as records grow to a million.
A record is an annotated object of an Omni3D file; memory is the peak of a process that makes 3DI-Ft of that file."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench import record
from benchmarks.questions import every_question, write_records
from benchmarks.scenes import BATCH, ours, rate

IMAGES = 2_500  # in the file that questions are made of: more than 10,000 records
WHY_NO_PEER = (
    "published generators of such questions (remyxai/VQASynth, AnjieCheng/SpatialRGPT, wufeim/SpatialReasonerDataGen) "
    "are repositories of scripts; none was found on PyPI"
)
RECORDS = (10_000, 100_000, 1_000_000)
_MEASURED = (
    "import json, resource, sys, time; from pathlib import Path; from benchmarks.questions import write_conversations; "
    "p = Path(sys.argv[1]); start = time.process_time(); n = write_conversations(p, p.with_suffix('.parquet')); "
    "print(json.dumps({'samples': n, 'core_seconds': round(time.process_time() - start, 1), "
    "'peak_gib': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3)}))"
)


def records_in(path: Path) -> int:
    """How many objects a file of `write_records` has."""
    with path.open(encoding="utf-8") as file:
        return sum(line.count('"bbox3D_cam"') for line in file)


def measured(path: Path) -> dict[str, float]:
    """Samples, core-seconds and peak memory of a process that makes 3DI-Ft of a file."""
    process = subprocess.run([sys.executable, "-c", _MEASURED, str(path)], capture_output=True, text=True, check=True)
    return json.loads(process.stdout)


def main() -> None:
    """Measure and record; the million takes minutes and about 2 GB of disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.json"
        write_records(path, IMAGES)
        count = records_in(path)
        start = time.process_time()
        questions = every_question(path) / (time.process_time() - start)
        growth = {}
        for wanted in RECORDS:
            images = round(wanted * IMAGES / count)
            write_records(path, images)
            growth[f"{records_in(path)} records"] = {"images": images} | measured(path)
    for index in range(200):  # shapes are drawn once and then kept
        ours(index)
    scenes = [rate(ours, start) for start in range(1000, 1000 + 4 * BATCH, BATCH)]
    record(
        "data",
        ours=round(questions),
        peer=None,
        unit="questions/s per core",
        command="make bench-data",
        why_no_peer=WHY_NO_PEER,
        records=count,
        scenes_96px_per_core_s=round(statistics.median(scenes), 1),
        growth=growth,
    )


if __name__ == "__main__":
    main()
