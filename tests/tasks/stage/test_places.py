"""What may lie where a stage run's files belong, what its shell may forbid, and who may start it: one message each,
with file and remedy, and nothing lost."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_registry.errors import InputError
from tasks.identity import manifest, settings
from tasks.identity.identity import is_whole
from tasks.identity.manifest import Damaged
from tasks.identity.paths import LONGEST_NAME, Paths
from tasks.stage.harness import EXIT_INPUT, execute
from tests.tasks.identity.test_files import KINDS, damage
from tests.tasks.stage.test_stage import PARAMS, PLAN, run_main, write

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "plan.yaml").write_text(PLAN)
    return tmp_path


@pytest.fixture
def paths(root):
    return Paths(root, "tiny", "scenes", "train")


def a_file(out):
    out.write_text("mine")


def a_link_to_nothing(out):
    out.symlink_to(out.parent / "gone")


def a_link_to_itself(out):
    out.symlink_to(out.name)


@pytest.mark.parametrize("put", [a_file, a_link_to_nothing, a_link_to_itself])
def test_what_is_no_folder_in_an_outputs_place_is_named_and_left_alone(monkeypatch, capsys, root, paths, put):
    paths.out.parent.mkdir(parents=True)
    put(paths.out)
    before = os.lstat(paths.out)
    code, printed = run_main(monkeypatch, capsys, root, "scenes", "train", write)
    assert code == EXIT_INPUT
    assert printed.startswith(f"error: {paths.out}: ")
    assert "run the same again" in printed
    assert "Traceback" not in printed
    assert os.lstat(paths.out).st_ino == before.st_ino
    with pytest.raises(Damaged, match="train"):
        manifest.verify(paths.out)


@pytest.mark.parametrize("kind", [*KINDS, "a list of files", "files without digests"])
def test_a_damaged_manifest_is_an_output_that_is_not_there(root, paths, kind):
    execute("scenes", "train", write, root)
    path = paths.out / manifest.MANIFEST
    texts = {
        "a list of files": '{"identity": {}, "files": ["a"], "content": "0"}',
        "files without digests": '{"identity": {}, "files": {"a": ["b"]}, "content": "0"}',
    }
    if kind in texts:
        path.write_text(texts[kind])
    else:
        damage(path, kind)
    with pytest.raises(Damaged, match=r"MANIFEST\.json: is not a manifest"):
        manifest.read_manifest(paths.out)
    assert not is_whole(paths.out)
    execute("scenes", "train", write, root)  # computed again, or put back where DVC has not recorded it yet
    assert is_whole(paths.out)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_parameters_are_named(monkeypatch, capsys, root, kind):
    damage(root / "params.yaml", kind)
    code, printed = run_main(monkeypatch, capsys, root, "scenes", "train", write)
    assert code == EXIT_INPUT
    assert printed.startswith(f"error: {root / 'params.yaml'}: ")
    assert "Traceback" not in printed


@pytest.mark.parametrize("kind", [*KINDS, "cut at a line"])
def test_a_damaged_plan_is_named(root, kind):
    whole = f"# It ends with `{settings.PLAN_END}`.{PLAN}{settings.PLAN_END}\n"
    (root / "plan.yaml").write_text(whole)
    assert set(settings.load(root).plan) == {"scenes", "data"}
    if kind == "cut at a line":
        (root / "plan.yaml").write_text(whole[: whole.index("  data:")])
    else:
        damage(root / "plan.yaml", kind)
    with pytest.raises(InputError, match=r"plan\.yaml: ") as refused:
        settings.load(root)
    if kind in ("empty", "cut at a line"):
        assert "delete it, and the next flow begins it anew" in str(refused.value)


@pytest.mark.parametrize("name", ["x; touch PWNED", "-h", "../up", "a b", "$(id)", "a\nb", ""])
def test_a_key_of_the_plan_that_is_no_name_is_refused(root, name):
    with (root / "plan.yaml").open("a") as plan:
        plan.write(f"  score: {{{name!r}: {{parts: {{}}}}}}\n" if "\n" not in name else '  score: {"a\\nb": {}}\n')
    with pytest.raises(InputError, match=r"plan\.yaml: plan\.score: .* is no name of a stage run"):
        settings.load(root)


def test_a_name_that_no_file_system_takes_is_named(root):
    assert Paths(root, "paper", "foundation", "a" * LONGEST_NAME).lock.parent.name == ".locks"
    with pytest.raises(InputError, match=r"foundation aaaa.*: a name of 221 bytes; 220 at most"):
        Paths(root, "paper", "foundation", "a" * (LONGEST_NAME + 1))
    longest = Paths(root, "paper", "foundation", "a" * LONGEST_NAME)
    assert len(f"{longest.holder.name}.4194304") <= 255


def test_a_file_that_may_not_grow_is_a_clear_error(monkeypatch, capsys, root, paths):
    def write_much(run):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        try:
            (run.out / "much").write_bytes(bytes(1 << 17))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return {}

    code, printed = run_main(monkeypatch, capsys, root, "scenes", "train", write_much)
    assert code == EXIT_INPUT
    assert "`ulimit -f`" in printed
    assert "Traceback" not in printed
    assert list(paths.out.parent.iterdir()) == []


@pytest.mark.parametrize("place", ["runs", ".locks", ".work"])
def test_a_file_in_a_folders_place_is_a_clear_error(monkeypatch, capsys, root, place):
    (root / place).write_text("mine")
    code, printed = run_main(monkeypatch, capsys, root, "scenes", "train", write)
    assert code == EXIT_INPUT
    assert f"{root / place}" in printed
    assert "move it away" in printed
    assert "Traceback" not in printed
    assert (root / place).read_text() == "mine"


def run_alone(root: Path, *alone: str, **environment: str) -> subprocess.CompletedProcess:
    """A stage run as a process of its own, started by `alone`, with these environment variables only."""
    (root / "stage.py").write_text(
        "from tasks.stage.harness import main\n"
        "def compute(run):\n    print('✓')\n    return {}\n"
        "main('scenes', compute)\n"
    )
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*alone, sys.executable, "stage.py", "train"], cwd=root, capture_output=True, text=True, env=known | environment
    )


def in_a_namespace(root: Path, *words: str) -> list[str]:
    """A command in a namespace of its own, if this system gives one."""
    command = ["unshare", *words]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this system gives no namespaces")
    return command


def test_a_user_whom_the_system_does_not_know_computes_too(root, paths, monkeypatch):
    """As Kubernetes starts a container: a number without a passwd entry, no HOME, no USER."""
    alone = in_a_namespace(root, "-U", "--map-user=54321", "--map-group=54321")
    done = run_alone(root, *alone, TMPDIR=str(root))
    assert done.returncode == 0, done.stderr
    assert is_whole(paths.out)
    libraries = "import tasks, getpass, pathlib, platformdirs; getpass.getuser(); pathlib.Path.home(); "
    done = subprocess.run(
        [*alone, sys.executable, "-c", libraries + "platformdirs.user_config_dir()"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "TMPDIR": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_is_not_utf8_ends_nothing(root, paths, encoding):
    done = run_alone(root, PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    assert is_whole(paths.out)


def test_a_folder_that_may_not_be_written_is_named(root):
    """Read-only for root too: a mount of its own, which only this process sees."""
    (root / "runs").mkdir()
    alone = in_a_namespace(root, "--map-root-user", "--mount")
    mount = "mount -t tmpfs -o ro tmpfs runs"
    if subprocess.run([*alone, "sh", "-c", mount], cwd=root, capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a disk of their own")
    done = run_alone(root, *alone, "sh", "-c", f'{mount}; exec "$@"', "sh")
    assert done.returncode == EXIT_INPUT
    assert done.stderr.startswith(f"error: {root}/runs/tiny: Read-only file system; see who may write there")
    assert "Traceback" not in done.stderr


def test_a_stage_runs_from_a_folder_inside_the_project(monkeypatch, capsys, root, paths):
    inside = root / "notes" / "deep"
    inside.mkdir(parents=True)
    code, printed = run_main(monkeypatch, capsys, inside, "scenes", "trian", write)
    assert code == EXIT_INPUT
    assert "did you mean train?" in printed
    assert list(inside.iterdir()) == []
