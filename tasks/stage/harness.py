"""The harness of every stage: claim, verify inputs, compute, publish whole.
`python -m tasks.align NAME` is one command for a person, for DVC and for the flow, and claims the run by itself."""

import json
import os
import resource
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from data_registry.errors import InputError
from tasks.identity import manifest, settings
from tasks.identity.files import write_json
from tasks.identity.identity import identify, is_whole, with_remedy
from tasks.identity.manifest import Damaged
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage import early_stop, ranks
from tasks.stage.claim import LEASE_S, Note, claim
from tasks.stage.environment import environment
from tasks.stage.full_disk import full_disk
from tasks.stage.parent_watch import die_with_owner
from tasks.stage.progress import Progress
from tasks.stage.ranks import EXIT_PASSING, FirstFailed, Ranks
from tasks.tracking.tracker import Tracker, owe

T = TypeVar("T")
Metrics = dict[str, Any]

EXIT_INPUT = 2  # what the user gave is wrong: running it again cannot help
EXIT_DAMAGED = 3  # an input is damaged: recompute that first


class Changed(RuntimeError):
    """The parameters were edited while a stage run computed, so its output is not what they ask for now."""


@dataclass
class StageRun:
    """One execution of one stage, as its `compute` sees it.

    Attributes:
        params: the stage's section of params.yaml at this scale, with what the plan's entry sets on top.
        parts: the identity part of the plan's entry (which encoders, which LLM, which data).
        seed: the only source of randomness.
        out: temporary folder to write the output into; it is renamed into place when all is written.
        rank: of this process where several train together; only 0 writes into `out`.
        work: scratch folder that survives a kill (training checkpoints) and is removed once published.
        inputs: by slot of the plan's entry: the folder of a published stage run, or a list without repeats.
        tracker: `tracker.log(step, {"loss": ...})`, `tracker.dataset(name, digest, rows)`.
        runtime: device, threads and the like, from params.yaml; must not change the result.
    """

    scale: str
    stage: str
    name: str
    params: dict[str, Any]
    parts: dict[str, Any]
    seed: int
    out: Path
    work: Path
    inputs: dict[str, Path | list[Path]] = field(default_factory=dict)
    tracker: Tracker = field(default_factory=Tracker)
    runtime: dict[str, Any] = field(default_factory=dict)
    report_progress: Callable[[int, int], None] = field(default=lambda done, total: None, repr=False)
    rank: int = 0

    def parse(self, kind: type[T]) -> T:
        """The parameters as a dataclass; InputError names an unknown, missing or wrong key."""
        return settings.parse(kind, self.params, settings.section_name(self.stage, self.scale))

    def progress(self, done: int, total: int) -> None:
        """Say how far the work is, as often as one likes."""
        self.report_progress(done, total)


def main(
    stage: str,
    compute: Callable[[StageRun], Metrics],
    argv: list[str] | None = None,
    shared: Callable[[dict[str, Any]], bool] = lambda parts: False,
) -> None:
    """Run `python -m tasks.<stage> NAME` and exit: 0, or 2 with a message when the input is at fault.

    Args:
        stage: name of the stage in dvc.yaml, params.yaml and plan.yaml.
        compute: writes the output into `run.out` and returns metrics that JSON can hold.
        shared: by the stage run's parts, whether several processes share out its training. Where params.yaml gives
            such a one several GPUs, it starts a process for each.
    """
    argv = sys.argv[1:] if argv is None else argv
    if ranks.launched():
        argv = [each for each in argv if not each.startswith("--local_rank=")]  # DeepSpeed's launcher adds it
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        print(f"usage: python -m tasks.{stage} NAME   (a stage run of plan.yaml)", file=sys.stderr)
        raise SystemExit(0 if argv in (["-h"], ["--help"]) else EXIT_INPUT)
    die_with_owner()
    try:
        found = settings.load()
        if shared(found.entry(stage, argv[0]).get("parts") or {}):
            if not ranks.launched() and found.processes > 1:
                raise SystemExit(ranks.launch(argv[0], found.processes))
        elif ranks.launched() > 1:
            raise InputError(f"{stage} {argv[0]} is computed by one process; start it without a launcher")
        execute(stage, argv[0], compute)
    except Exception as error:
        code, message = explain(error, stage, argv[0])
        if message is None:
            traceback.print_exc()
        else:
            print(f"error: {message}", file=sys.stderr)
        raise SystemExit(code) from None


def explain(error: Exception, stage: str, name: str) -> tuple[int, str | None]:
    """Exit code and message of a failure; None asks for the traceback (a fault of ours, not of the input)."""
    if isinstance(error, Damaged):
        return EXIT_DAMAGED, str(error)
    if isinstance(error, InputError):
        return EXIT_INPUT, str(error)
    if isinstance(error, Changed):
        return EXIT_PASSING, str(error)
    if isinstance(error, FirstFailed):
        return error.code, str(error)
    if full := full_disk(error, f"{stage} {name}", Path.cwd()):
        return EXIT_INPUT, full
    if isinstance(error, ConnectionError | TimeoutError):
        return EXIT_PASSING, None
    return 1, None


def execute(stage: str, name: str, compute: Callable[[StageRun], Metrics], root: Path | None = None) -> bool:
    """Compute a stage run unless it is there whole; returns whether it was computed.

    Where a launcher started several processes, the first does that, and the others take part in its training.

    Raises:
        InputError: unknown name or parameter.
        Changed: it was computed, but the parameters are others now.
        Damaged: an input is missing, truncated or altered; the message has the command that recomputes it.
        FirstFailed: in the other processes, where the first failed.
    """
    together = Ranks(f"{stage}/{name}")
    if together.rank:
        return _take_part(together, stage, name, compute, root)
    try:
        computed = _execute(together, stage, name, compute, root)
    except Exception as error:
        together.end(explain(error, stage, name)[0])
        raise
    together.end(0)
    return computed


def _execute(together: Ranks, stage: str, name: str, compute: Callable[[StageRun], Metrics], root: Path | None) -> bool:
    found = settings.load(root)
    found.entry(stage, name)
    paths = Paths(found.root, found.scale, stage, name)
    _set_threads(found)
    with claim(paths, float(found.runtime.get("lease_s", LEASE_S))) as note:
        identity, inputs = identify(found, stage, name)
        _clear_leftovers(paths, identity)
        if is_whole(paths.out, identity):
            print(f"{stage} {name}: already computed")
            return False
        _verify_inputs(inputs)
        _compute(found, paths, note, identity, inputs, compute, together)
        return True


def _take_part(
    together: Ranks, stage: str, name: str, compute: Callable[[StageRun], Metrics], root: Path | None
) -> bool:
    """What all but the first process do: compute the same with it, publish and record nothing."""
    agreed = together.wait_for_begin()
    if agreed is None:
        return False
    found = settings.load(root)
    _set_threads(found)
    identity, inputs = identify(found, stage, name)
    if json.loads(json.dumps(identity)) != agreed:
        raise Changed(f"{stage} {name}: {settings.PARAMS_FILE} or {settings.PLAN_FILE} was edited as it started")
    run = _stage_run(found, Paths(found.root, found.scale, stage, name), identity, inputs)
    run.rank = together.rank
    compute(run)
    together.wait_for_end()
    return True


def _set_threads(found: Settings) -> None:
    os.environ["OMP_NUM_THREADS"] = str(found.runtime.get("threads", 1))
    # oneDNN keeps a kernel with its scratch memory for each of 1024 shapes: gigabytes where lengths vary.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def _processor_s() -> float:
    """Of this process and of those that it waited for."""
    used = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _compute(
    found: Settings,
    paths: Paths,
    note: Note,
    identity: dict[str, Any],
    inputs: dict[str, Path | list[Path]],
    compute: Callable[[StageRun], Metrics],
    together: Ranks,
) -> None:
    started, worked = time.time(), _processor_s()
    _prepare_work(paths.work, identity)
    earlier = early_stop.earlier(paths.work)
    paths.partial.mkdir(parents=True)
    history = paths.work / "history.jsonl"
    mlflow = _MlflowWhenNeeded(found, identity, started)
    tracker = mlflow.tracker = Tracker(history, on_first=mlflow.start)
    run = _stage_run(found, paths, identity, inputs)
    run.tracker, run.report_progress = tracker, Progress(f"{paths.stage} {paths.name}", note)
    together.begin(identity)
    try:
        metrics = compute(run)
        if tracker.lines:
            tracker.publish(paths.partial / "history.jsonl")
        write_json(paths.partial / "metrics.json", metrics)
        _unchanged(identity, found, paths)
        manifest.write_manifest(paths.partial, identity)
        publish(paths)
    except Exception as error:
        full = full_disk(error, f"{paths.stage} {paths.name}", found.root)  # before removing makes room
        shutil.rmtree(paths.partial, ignore_errors=True)
        mlflow.finish(published=False)
        if full:
            raise InputError(full) from error
        raise
    took = {"seconds": round(time.time() - started, 2), "processor_s": round(_processor_s() - worked, 2)}
    write_json(
        paths.record,
        {
            "identity": manifest.digest_of(identity),
            **took,
            **({"earlier": earlier} if earlier else {}),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": socket.gethostname(),
            "environment": environment(),
            **({"speed": speed} if (speed := tracker.speed()) else {}),
        },
    )
    owe(found.root)
    mlflow.finish(published=True)
    if found.runtime.get("keep_stopped", True):
        early_stop.leave(paths.work, identity, took)
    else:
        shutil.rmtree(paths.work, ignore_errors=True)
    print(f"{paths.stage} {paths.name}: computed in {took['seconds']:.1f} s")
    if identify(settings.load(found.root), paths.stage, paths.name)[0] != identity:
        # The output is whole and says what it is; but DVC would record it under the parameters of this moment.
        raise Changed(
            f"{paths.stage} {paths.name}: {settings.PARAMS_FILE} or {settings.PLAN_FILE} was edited while it was "
            "computed; run it again for what they ask for now"
        )


def _stage_run(
    found: Settings, paths: Paths, identity: dict[str, Any], inputs: dict[str, Path | list[Path]]
) -> StageRun:
    return StageRun(
        scale=paths.scale,
        stage=paths.stage,
        name=paths.name,
        params=identity["params"],
        parts=identity["parts"],
        seed=identity["seed"],
        out=paths.partial,
        work=paths.work,
        inputs=inputs,
        runtime=found.runtime,
    )


def publish(paths: Paths) -> None:
    """Exchange the published output for the finished one. A kill in between leaves one of the two, whole."""
    shutil.rmtree(paths.replaced, ignore_errors=True)
    if paths.out.exists():
        paths.out.replace(paths.replaced)
    paths.partial.replace(paths.out)
    shutil.rmtree(paths.replaced, ignore_errors=True)


def _clear_leftovers(paths: Paths, identity: dict[str, Any]) -> None:
    """What a killed run left behind; its claim is ours now. A finished output that only missed its rename is kept."""
    shutil.rmtree(paths.replaced, ignore_errors=True)
    if is_whole(paths.partial, identity):
        publish(paths)
    shutil.rmtree(paths.partial, ignore_errors=True)


def _prepare_work(work: Path, identity: dict[str, Any]) -> None:
    """Keep checkpoints of the same identity, or take those of the same training stopped earlier; drop all others."""
    stamp, wanted = work / "identity", manifest.digest_of(identity)
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(work, ignore_errors=True)
        if not early_stop.take(work, identity):
            work.mkdir(parents=True)
        stamp.write_text(wanted)


def _verify_inputs(inputs: dict[str, Path | list[Path]]) -> None:
    for value in inputs.values():
        for folder in value if isinstance(value, list) else [value]:
            with with_remedy():
                manifest.verify(folder)


def _unchanged(identity: dict[str, Any], found: Settings, paths: Paths) -> None:
    """Refuse to publish what was computed from inputs that were replaced meanwhile."""
    now, _ = identify(found, paths.stage, paths.name)
    if now["inputs"] != identity["inputs"]:
        raise Damaged(f"{paths.stage} {paths.name}: an input was recomputed meanwhile; run it again")


class _MlflowWhenNeeded:
    """Streams a stage run's curves to MLflow from its first step on. A run without curves is left to the flow, which
    delivers it from its files: importing MLflow takes longer than many a stage run."""

    def __init__(self, found: Settings, identity: dict[str, Any], started: float) -> None:
        self._found, self._identity, self._started = found, identity, started
        self._live: Any = None
        self.tracker = Tracker()

    def start(self) -> None:
        from tasks.tracking.mlflow import Live

        self._live = Live(self._found, self._identity, self.tracker, self._started)
        self._live.start()

    def finish(self, published: bool) -> None:
        if self._live is not None:
            self._live.finish(published)
