"""The pose head of the tiny scale: azimuth errors on objects of unseen shapes, and what its training costs.
The stages `scenes` and `pose` by params.yaml, in a scratch study beside the committed tiny DINOv2."""

import json
import shutil
import tempfile
import time
from pathlib import Path

from benchmarks.bench import record
from flows.designs.plan import POSE_ENCODER, annotation_of, write_plan
from tasks import pose, scenes
from tasks.identity.settings import PARAMS_FILE
from tasks.stage.harness import execute

ROOT = Path(__file__).parents[1]
CHANCE_DEG = 90.0  # the median error of an azimuth that is guessed


def main() -> None:
    """Measure and record; five minutes on a core."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copy(ROOT / PARAMS_FILE, root)
        write_plan(root, annotation_of("openimages"))
        encoder = Path("runs/tiny/foundation") / POSE_ENCODER
        shutil.copytree(ROOT / encoder, root / encoder)
        for split in ("pose-train", "pose-test"):
            execute("scenes", split, scenes.compute, root)
        start = time.process_time()
        execute("pose", POSE_ENCODER, pose.compute, root)
        took = time.process_time() - start
        metrics = json.loads((root / "runs/tiny/pose" / POSE_ENCODER / "metrics.json").read_text())
    record(
        "pose",
        ours=metrics["azimuth_median_error_deg"],
        peer=CHANCE_DEG,
        unit="degrees, median error of azimuth",
        peer_name="a guess",
        command="make bench-pose",
        higher_is_better=False,
        core_minutes=round(took / 60, 1),
        **{key: value for key, value in metrics.items() if key in _KEPT},
    )


_KEPT = (
    "azimuth_within_30_deg",
    "elevation_median_error_deg",
    "theta_median_error_deg",
    "confident",
    "confident_azimuth_median_error_deg",
    "azimuth_median_error_deg_by_category",
    "objects_fitted",
    "objects_measured",
)


if __name__ == "__main__":
    main()
