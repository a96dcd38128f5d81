"""A small project with the real dvc.yaml, plan, harness and flows, whose stages take milliseconds.
Its stages write what they were given, note every execution, and can be told to wait or fail."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from flows.designs.design import Design, choose
from flows.designs.plan import plan_of, write_plan
from flows.servers.prefect import prefect_server
from tests.postgres import postgres, programs

REPO = Path(__file__).resolve().parents[2]

_COMMON = """
import json, os, pathlib, sys, time
from tasks.stage.harness import main

def compute(run):
    key = f"{run.stage}/{run.name}"
    with open("executed.log", "a") as log:
        log.write(f"{key}\\n")
    if os.path.exists(f"{key.replace('/', '.')}.fail"):
        raise RuntimeError(f"told to fail: {key}")
    # Two named pipes stop it: the first tells the test that it has begun, the second lets it go on.
    if os.path.exists(f"{key.replace('/', '.')}.begun"):
        checkpoint = run.work / "checkpoint"
        checkpoint.write_text("resumed" if checkpoint.exists() else "half")
        with open(f"{key.replace('/', '.')}.begun", "w") as begun:
            begun.write(str(os.getpid()))
        with open(f"{key.replace('/', '.')}.go") as go:
            go.read()
    time.sleep(float(os.environ.get("STAGE_SECONDS", 0)))  # for benchmarks
    given = {slot: [str(p) for p in (v if isinstance(v, list) else [v])] for slot, v in run.inputs.items()}
    read = {slot: [(pathlib.Path(p) / "output.json").read_text() for p in paths] for slot, paths in given.items()}
    if run.stage in ("adapt", "align", "instruct"):
        for step in range(3):
            run.recorder.log(step, {"loss": 1 / (step + 1)})
            run.progress(step + 1, 3)
    content = {"params": run.params, "parts": run.parts, "seed": run.seed, "read": read}
    (run.out / "output.json").write_text(json.dumps(content, sort_keys=True))
    accuracy = sum(map(ord, run.name)) % 50 / 100 + 0.25
    return {name: accuracy for name in ("average", "distance", "orientation", "relation")}

def run(stage):
    main(stage, compute)
"""


def _take_ctrl_c() -> None:
    """What a shell starts in the background ignores Ctrl-C, and so would all that it starts in turn."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Project:
    """The small project on disk.

    Attributes:
        root: its folder; commands run there with this Python and this repository's packages.
        extra: environment variables of these commands.
    """

    def __init__(self, root: Path, prefect: str | None = None) -> None:
        self.root, self.prefect = root, prefect
        self.extra: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "DVC_", "SPATIALLLM_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
        server = {"PREFECT_API_URL": self.prefect} if self.prefect else {}
        python = {"PATH": path, "PYTHONPATH": f"{REPO}{os.pathsep}{self.root}", "OMP_NUM_THREADS": "1"}
        return {**kept, **server, **python, **self.extra}

    def command(self, *words: str) -> list[str]:
        """`spatialllm ...` as a command line."""
        return [sys.executable, "-m", "flows.cli.main", *words]

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command to its end and return what it printed; it must exit with `code`."""
        done = subprocess.run(words, cwd=self.root, env=self.environment, capture_output=True, text=True)
        assert done.returncode == code, f"{words} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def spatialllm(self, *words: str, code: int = 0) -> str:
        """Run `spatialllm ...`."""
        return self.run(*self.command(*words), code=code)

    def stage(self, run: str, code: int = 0) -> str:
        """Run one stage run's command by hand."""
        stage, _, name = run.partition("/")
        return self.run(sys.executable, "-m", f"fake.{stage}", name, code=code)

    def start(self, *words: str, **options: object) -> subprocess.Popen:
        """Start a command and return at once."""
        return subprocess.Popen(
            words,
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_take_ctrl_c,
            **options,
        )

    def out(self, run: str) -> Path:
        """The output of "stage/name"."""
        return self.root / "runs" / "tiny" / run

    @property
    def executed(self) -> list[str]:
        """Every stage run that was computed, in order, as often as it was."""
        log = self.root / "executed.log"
        return log.read_text().split() if log.exists() else []

    def forget(self) -> None:
        """Begin a new record of executions."""
        (self.root / "executed.log").unlink(missing_ok=True)

    def params(self) -> dict:
        """params.yaml."""
        return yaml.safe_load((self.root / "params.yaml").read_text())

    def set_params(self, params: dict) -> None:
        """Write params.yaml."""
        (self.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))

    def want(self, *designs: str | int) -> list[Design]:
        """Make these the designs of params.yaml and plan.yaml."""
        params = self.params()
        params["designs"] = list(designs)
        self.set_params(params)
        chosen = choose(designs)
        (self.root / "plan.yaml").unlink(missing_ok=True)
        write_plan(self.root, plan_of(chosen))
        return chosen

    def hold(self, run: str) -> tuple[Path, Path]:
        """Make the next execution of a stage run wait; returns the pipes (begun: to read, go: to write)."""
        pipes = tuple(self.root / f"{run.replace('/', '.')}.{word}" for word in ("begun", "go"))
        for pipe in pipes:
            os.mkfifo(pipe)
        return pipes


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server for all tests that do not care whose it is."""
    home = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        for key in [key for key in os.environ if key.startswith("PREFECT_")]:
            patch.delenv(key)
        patch.setenv("PREFECT_HOME", str(home))
        with prefect_server(home) as address:
            yield address


@pytest.fixture(scope="session")
def postgres_address() -> Iterator[str]:
    """A Postgres for server mode."""
    pytest.importorskip("psycopg2")
    folder = programs()
    if folder is None:
        pytest.skip("Postgres is not installed")
    with postgres(folder) as address:
        yield address


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh small project with git, DVC, and the plan of rows 1 and 8."""
    return make_project(tmp_path / "project")


@pytest.fixture
def served(project: Project, prefect: str, tracking_database: Path) -> Project:
    """The same, with the tests' Prefect server and an MLflow database."""
    project.prefect = prefect
    shutil.copyfile(tracking_database, project.root / "mlflow.db")
    return project


def make_project(root: Path) -> Project:
    """Write the small project."""
    (root / "fake").mkdir(parents=True)
    (root / "fake" / "__init__.py").touch()
    (root / "fake" / "common.py").write_text(_COMMON)
    pipeline = yaml.safe_load((REPO / "dvc.yaml").read_text())
    params = yaml.safe_load((REPO / "params.yaml").read_text())
    for stage in pipeline["stages"]:
        (root / "fake" / f"{stage}.py").write_text(
            f"from fake.common import run\n\nif __name__ == '__main__':\n    run({stage!r})\n"
        )
        # The real sections in shape, without their values.
        section = params[stage]["tiny"]
        if "each" in section:
            params[stage] = {"tiny": {"common": {}, "each": {name: {"seed": 1, "size": 1} for name in section["each"]}}}
        else:
            params[stage] = {"tiny": {"fraction": 1.0, "lr": 1e-3, **({"seed": 1} if "seed" in section else {})}}
    (root / "dvc.yaml").write_text((REPO / "dvc.yaml").read_text().replace("python -m tasks.", "python -m fake."))
    for name in (".gitignore", ".dvcignore"):
        (root / name).write_text((REPO / name).read_text() + "/*.log\n/*.fail\n/*.begun\n/*.go\n")
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text((REPO / ".dvc" / "config").read_text())
    (root / ".dvc" / ".gitignore").write_text((REPO / ".dvc" / ".gitignore").read_text())
    made = Project(root)
    made.set_params(params)
    made.want(1, 8)
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start"],
    ):
        subprocess.run(["git", *words], cwd=root, check=True)
    return made
