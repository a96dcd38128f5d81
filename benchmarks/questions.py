"""Questions per core-second from Omni3D records: read, laid out, decided with all margins, worded with options.
Also whole 3DI-Ft conversations per second, and whether memory stays flat as records grow."""

import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.bench import record
from data_registry import conversations, render
from data_registry.questions import dialogue, types
from data_registry.questions.balance import many_small_objects
from data_registry.questions.facts import fact
from data_registry.questions.general import question
from data_registry.questions.geometry import Margins, layout
from data_registry.readers import omni3d

SCENES, ROUNDS = 300, 5
MEMORY = (2_500, 10_000)  # records in a file, for the peak of memory: one shard, and four
MARGINS = Margins()


def write_records(path: Path, copies: int, different: int = SCENES) -> None:
    """An Omni3D file of `copies` records, of which so many are different."""
    info = {"id": render.DATASET_ID, "source": render.SOURCE, "name": "b", "split": "train", "version": "1", "url": ""}
    drawn = []
    for index in range(min(different, copies)):
        world = render.sample(0, index)
        drawn.append(render.records(world, render.render(world, 48), ""))
    with omni3d.Writer(path, info, render.categories()) as file:
        for index in range(copies):
            image, objects = drawn[index % len(drawn)]
            file.add(
                image | {"id": index, "file_path": f"{index:07d}.jpg"},
                [o | {"id": 100 * index + k, "image_id": index} for k, o in enumerate(objects)],
            )


def every_question(path: Path) -> int:
    """Word every claim that the margins allow; returns how many."""
    count, drops = 0, Counter()
    for scene in omni3d.read(path):
        known = layout(scene, MARGINS, drops)
        rng = random.Random(scene.image)
        for claim in types.claims(known, MARGINS, drops):
            question(fact(claim, known), rng.random() < 0.5, rng, lettered=True)
            count += 1
    return count


def write_conversations(source: Path, target: Path) -> int:
    """A 3DI-Ft data set from an Omni3D file, as its stage writes it; returns how many samples."""
    with many_small_objects():
        made = dialogue.conversations(omni3d.read(source), "3di-ft1m", 0, dialogue.DialogueRecipe(), MARGINS, Counter())
        return conversations.write(target, made)


def peak_gib(path: Path) -> float:
    """Peak memory of a process that makes conversations from an Omni3D file."""
    code = (
        "import resource, sys; from pathlib import Path; from benchmarks.questions import write_conversations as w; "
        "p = Path(sys.argv[1]); w(p, p.with_suffix('.parquet')); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    process = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return float(process.stdout)


def main() -> None:
    """Measure and record."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.json"
        write_records(path, SCENES)
        rates, samples = [], []
        for _ in range(ROUNDS):
            start = time.process_time()
            count = every_question(path)
            rates.append(count / (time.process_time() - start))
            start = time.process_time()
            samples.append(write_conversations(path, path.with_suffix(".parquet")) / (time.process_time() - start))
        memory = {}
        for copies in MEMORY:
            write_records(path, copies)
            memory[f"{copies} records"] = round(peak_gib(path), 3)
        record(
            "questions",
            ours=round(statistics.median(rates)),
            peer=None,
            unit="questions/s per core",
            command="make bench-questions",
            best=round(max(rates)),
            questions_per_scene=round(count / SCENES, 1),
            conversations_per_s=round(statistics.median(samples)),
            peak_memory_gib=memory,
            own_peak_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 3),
        )


if __name__ == "__main__":
    main()
