"""3DI-Pb and 3DI-Ft at the paper's size: a million samples, by the recipes of params.yaml at paper scale, once.

The scenes are rendered ones, SCENES of them different: each comes back under other names of images, which changes what
is said of it but not where things are. They are held in memory, so reading a million images is not part of it
(`make bench-data` has that). Each set is made by a process of its own, for its peak memory; `python -m
benchmarks.million 3di-ft1m` makes one of them again, and leaves the others in the record."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench import RESULTS, machine, record
from benchmarks.questions import write_records
from data_registry import conversations
from data_registry.questions.balance import many_small_objects
from data_registry.readers import omni3d
from data_registry.scene import Scene
from tasks.data import Params, kind_of
from tasks.identity.parse import parse
from tasks.identity.settings import PARAMS_FILE, read_yaml

SCENES = 10_000
SAMPLES = {"3di-pb-in166k": 166_000, "3di-pb-oi1m": 1_000_000, "3di-ft1m": 1_000_000}
_MADE = "import sys; from benchmarks.million import made; made(sys.argv[1], sys.argv[2], int(sys.argv[3]))"


def endless(path: Path) -> Iterator[Scene]:
    """The scenes of a file again and again, each time as other images."""
    scenes = list(omni3d.read(path))
    for index in count():
        yield replace(scenes[index % len(scenes)], image=f"{index:08d}.jpg")


def records(name: str, path: Path, drops: Counter[str]) -> Iterator[dict[str, Any]]:
    """Samples of a set without end, as its stage makes them at paper scale."""
    section = read_yaml(Path(__file__).parents[1] / PARAMS_FILE)["data"]["paper"]
    p = parse(Params, section["common"] | section["each"][name], f"data.paper.{name}")
    recipe_class, make = kind_of(name).made()
    recipe = parse(recipe_class, p.recipe, f"data.paper.{name}.recipe")
    return make(endless(path), name, p.seed, recipe, p.margins, drops)


def made(name: str, file: str, wanted: int) -> None:
    """Write a set beside the scenes' file and print what it took, as JSON."""
    path, target = Path(file), Path(file).with_name(f"{name}.parquet")
    said, turns, drops = array("q"), Counter[str](), Counter[str]()

    def counted() -> Iterator[dict[str, Any]]:
        for item in islice(records(name, path, drops), wanted):
            turns.update(item["types"])
            said.append(hash("\n".join(one["value"] for one in item["conversations"])))
            yield item

    start = time.process_time()
    with many_small_objects():
        samples = conversations.write(target, counted())
    took = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    result = {
        "samples": samples,
        "core_minutes": round(took / 60, 1),
        "samples_per_core_s": round(samples / took),
        "peak_gib": round(peak, 3),
        "file_mb": round(target.stat().st_size / 1e6),
        "different_samples": len(np.unique(np.array(said))),
        "turns": turns.total(),
        "turns_by_type": dict(sorted(turns.items())),
        "images_without_enough_to_say": drops["image: too few facts"] + drops["image: nothing to state"],
    }
    print(json.dumps(result))


def main(names: Sequence[str]) -> None:
    """Make the sets and record each as it is done; all take about half an hour on a core, and a gigabyte in TMPDIR."""
    last = RESULTS / "million.json"
    sets = json.loads(last.read_text())["sets"] if last.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenes.json"
        write_records(path, SCENES, different=SCENES)
        for name in names:
            command = [sys.executable, "-c", _MADE, name, str(path), str(SAMPLES[name])]
            made_of = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            sets[name] = made_of | {"processor": machine()["processor"]}
            path.with_name(f"{name}.parquet").unlink()
            write(sets)


def write(sets: dict[str, dict[str, Any]]) -> None:
    """Record the sets that are made; the one figure is that of all of them together."""
    record(
        "million",
        ours=round(
            sum(one["samples"] for one in sets.values()) / sum(60 * one["core_minutes"] for one in sets.values())
        ),
        peer=None,
        unit="samples per core-second",
        command="make bench-million",
        different_scenes=SCENES,
        sets=sets,
    )


if __name__ == "__main__":
    main(sys.argv[1:] or list(SAMPLES))
