"""The harness of every stage: claim, verify inputs, compute, publish whole.
`python -m tasks.align NAME` is one command for a person, for DVC and for the flow, and claims the run by itself."""

import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from data_registry.errors import InputError
from tasks.identity import manifest
from tasks.identity import settings as config
from tasks.identity.files import write_json
from tasks.identity.identity import identify, is_whole
from tasks.identity.manifest import Damaged
from tasks.identity.parse import parse
from tasks.identity.paths import Paths
from tasks.identity.settings import Settings
from tasks.stage import early_stop, ranks, unrecorded
from tasks.stage.claim import LEASE_S, Heartbeat, Lost, claim
from tasks.stage.committed import restore_committed
from tasks.stage.curves import write_table
from tasks.stage.live_curves import LiveCurves
from tasks.stage.parent_watch import die_with_parent
from tasks.stage.progress import Progress
from tasks.stage.publishing import (
    Inputs,
    check_place,
    clear_leftovers,
    prepare_scratch,
    publish,
    put_back,
    verify_inputs,
)
from tasks.stage.ranks import EXIT_PASSING, FirstFailed, Ranks
from tasks.stage.record import Stopwatch, write_record
from tasks.stage.system_errors import system_error
from tasks.stage.unhashed import check_unhashed
from tasks.tracking.pending import mark_pending
from tasks.tracking.recorder import Recorder

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
        recorder: `recorder.log(step, {"loss": ...})`, `recorder.dataset(name, digest, rows)`.
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
    inputs: Inputs = field(default_factory=dict)
    recorder: Recorder = field(default_factory=Recorder)
    runtime: dict[str, Any] = field(default_factory=dict)
    report_progress: Callable[[int, int], None] = field(default=lambda done, total: None, repr=False)
    rank: int = 0

    def parse(self, kind: type[T]) -> T:
        """The parameters as a dataclass; InputError names an unknown, missing or wrong key."""
        return parse(kind, self.params, config.section_name(self.stage, self.scale))

    def input(self, slot: str) -> Path:
        """The folder that a slot of one stage run reads."""
        folder = self.inputs[slot]
        if isinstance(folder, list):
            raise TypeError(f"{self.stage}: the slot {slot} holds several stage runs")
        return folder

    def input_list(self, slot: str) -> list[Path]:
        """The folders that a slot of several stage runs reads, each once."""
        folders = self.inputs[slot]
        return folders if isinstance(folders, list) else [folders]

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
        # DeepSpeed's launcher adds it.
        argv = [argument for argument in argv if not argument.startswith("--local_rank=")]
    if len(argv) != 1 or argv[0] in ("-h", "--help"):
        print(f"usage: python -m tasks.{stage} NAME   (a stage run of plan.yaml)", file=sys.stderr)
        raise SystemExit(0 if argv in (["-h"], ["--help"]) else EXIT_INPUT)
    die_with_parent()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that is not UTF-8 must not end a training
    _no_questions()
    try:
        os.chdir(config.project_root())
        settings = config.load()
        if shared(settings.entry(stage, argv[0]).get("parts") or {}):
            if not ranks.launched() and settings.processes > 1:
                raise SystemExit(ranks.launch(argv[0], settings.processes))
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


def _no_questions() -> None:
    """No library may stop a stage run with a question: there is nobody to answer it."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def explain(error: Exception, stage: str, name: str) -> tuple[int, str | None]:
    """Exit code and message of a failure; None asks for the traceback (a fault of ours, not of the input)."""
    if isinstance(error, Damaged):
        return EXIT_DAMAGED, str(error)
    if isinstance(error, InputError):
        return EXIT_INPUT, str(error)
    if isinstance(error, Changed | Lost):
        return EXIT_PASSING, str(error)
    if isinstance(error, FirstFailed):
        return error.code, str(error)
    if isinstance(error, ConnectionError | TimeoutError):
        return EXIT_PASSING, None
    if said := system_error(error, f"{stage} {name}", Path.cwd()):
        return EXIT_INPUT, said
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


@dataclass(frozen=True)
class _Job:
    """A stage run as it is asked for at this moment, and where its files are."""

    settings: Settings
    paths: Paths
    identity: dict[str, Any]
    inputs: Inputs

    @property
    def title(self) -> str:
        return f"{self.paths.stage} {self.paths.name}"

    def stage_run(self) -> StageRun:
        return StageRun(
            scale=self.paths.scale,
            stage=self.paths.stage,
            name=self.paths.name,
            params=self.identity["params"],
            parts=self.identity["parts"],
            seed=self.identity["seed"],
            out=self.paths.partial,
            work=self.paths.work,
            inputs=self.inputs,
            runtime=self.settings.runtime,
        )


def _execute(together: Ranks, stage: str, name: str, compute: Callable[[StageRun], Metrics], root: Path | None) -> bool:
    settings = config.load(root)
    settings.entry(stage, name)
    paths = Paths(settings.root, settings.scale, stage, name)
    _set_threads(settings)
    with claim(paths, float(settings.runtime.get("lease_s", LEASE_S))) as heartbeat:
        check_place(paths)
        identity, inputs = identify(settings, stage, name)
        clear_leftovers(paths, identity)
        unrecorded.clear_recorded(paths)
        if is_whole(paths.out, identity) or put_back(paths, identity):
            early_stop.clear_scratch(paths, identity, _keep_stopped(settings))
            print(f"{stage} {name}: already computed")
            return False
        if restore_committed(paths, identity):
            print(f"{stage} {name}: was missing or damaged; restored as it is committed in git")
            return False
        verify_inputs(inputs)
        check_unhashed(settings, stage, name)
        _compute(_Job(settings, paths, identity, inputs), compute, heartbeat, together)
        return True


def _take_part(
    together: Ranks, stage: str, name: str, compute: Callable[[StageRun], Metrics], root: Path | None
) -> bool:
    """What all but the first process do: compute the same with it, publish and record nothing."""
    agreed = together.wait_for_begin()
    if agreed is None:
        return False
    settings = config.load(root)
    _set_threads(settings)
    identity, inputs = identify(settings, stage, name)
    if json.loads(json.dumps(identity)) != agreed:
        raise Changed(f"{stage} {name}: {config.PARAMS_FILE} or {config.PLAN_FILE} was edited as it started")
    run = _Job(settings, Paths(settings.root, settings.scale, stage, name), identity, inputs).stage_run()
    run.rank = together.rank
    compute(run)
    together.wait_for_end()
    return True


def _keep_stopped(settings: Settings) -> bool:
    return bool(settings.runtime.get("keep_stopped", True))


def _set_threads(settings: Settings) -> None:
    os.environ["OMP_NUM_THREADS"] = str(settings.runtime.get("threads", 1))
    # oneDNN keeps a kernel with its scratch memory for each of 1024 shapes: gigabytes where lengths vary.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128")


def _compute(job: _Job, compute: Callable[[StageRun], Metrics], heartbeat: Heartbeat, together: Ranks) -> None:
    """Compute, publish, record; the claim is ours and the inputs are whole."""
    paths, stopwatch = job.paths, Stopwatch()
    prepare_scratch(paths.work, job.identity)
    before = early_stop.time_before(paths.work)
    paths.partial.mkdir(parents=True)
    curves = LiveCurves(job.settings, job.identity, paths.work / "history.jsonl", stopwatch.started)
    run = job.stage_run()
    run.recorder = curves.recorder
    together.begin(job.identity)
    try:
        with Progress(job.title, heartbeat) as run.report_progress:
            _compute_whole(job, run, compute, heartbeat)
    except Exception as error:
        said = system_error(error, job.title, job.settings.root)  # before removing makes room
        shutil.rmtree(paths.partial, ignore_errors=True)
        curves.finish(published=False)
        if said and not isinstance(error, InputError):
            raise InputError(said) from error
        raise
    took = stopwatch.took()
    write_record(paths, job.identity, took, before, curves.recorder.speed())
    write_table(paths)
    mark_pending(job.settings.root)
    curves.finish(published=True)
    early_stop.clear_scratch(paths, job.identity, _keep_stopped(job.settings))
    print(f"{job.title}: computed in {took['seconds']:.1f} s")
    _still_asked_for(job)


def _compute_whole(job: _Job, run: StageRun, compute: Callable[[StageRun], Metrics], heartbeat: Heartbeat) -> None:
    """Compute into the folder beside the output, and put it in its place once all of it is written."""
    metrics = compute(run)
    if run.recorder.lines:
        run.recorder.publish(run.out / "history.jsonl")
    write_json(run.out / "metrics.json", metrics)
    now, _ = identify(job.settings, run.stage, run.name)
    if now["inputs"] != job.identity["inputs"]:
        raise Damaged(f"{job.title}: an input was recomputed meanwhile; run it again")
    manifest.write_manifest(run.out, job.identity)
    heartbeat.confirm()
    publish(job.paths)


def _still_asked_for(job: _Job) -> None:
    """Changed where parameters were edited meanwhile: DVC would record the output under those of this moment."""
    if identify(config.load(job.settings.root), job.paths.stage, job.paths.name)[0] != job.identity:
        raise Changed(
            f"{job.title}: {config.PARAMS_FILE} or {config.PLAN_FILE} was edited while it was computed; "
            "run it again for what they ask for now"
        )
