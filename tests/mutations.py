"""Which test fails when a lock, a claim or a check is taken away: `python -m tests.mutations [WORD...] [--write]`.

Each row of the table takes one away in a copy of the repository and runs the tests named beside it; a row whose tests
still pass is an error. `--write` records the answers in docs/mutations.md. With words, only rows that hold one."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "mutations.md"
_SKIPPED = (".git", ".venv", ".cache", ".work", ".locks", ".ruff_cache", ".pytest_cache", "__pycache__", "mlruns")
_TIMEOUT_S = 240


@dataclass(frozen=True)
class Mutation:
    """Something that protects a result, taken away.

    Attributes:
        what: it is, in words.
        file: that it is in.
        old, new: its text, once in the file, and what stands there instead.
        tests: pytest's arguments, of which one must fail.
    """

    what: str
    file: str
    old: str
    new: str
    tests: str


_STAGE = "tests/tasks/stage/test_stage.py"
_CLAIM = "tests/tasks/stage/test_claim.py"
MUTATIONS = [
    # Claims and locks
    Mutation(
        "the claim of a stage run",
        "tasks/stage/harness.py",
        'with claim(paths, float(settings.runtime.get("lease_s", LEASE_S))) as heartbeat:',
        "with Heartbeat(paths.holder, 30.0) as heartbeat:",
        f"{_CLAIM}",
    ),
    Mutation(
        "that a claim whose holder is frozen lapses",
        "tasks/stage/claim.py",
        "        return now - self._since > self._lease_s",
        "        return False",
        f"{_CLAIM} -k ends_patience",
    ),
    Mutation(
        "that only the holder itself is killed (its start time)",
        "tasks/stage/process.py",
        "if not is_alive(who):",
        "if False:",
        f"{_CLAIM} -k nobody_but",
    ),
    Mutation(
        "that a stage run dies with who started it",
        "tasks/stage/harness.py",
        "    die_with_parent()\n",
        "",
        "tests/flows/execution/test_run.py -k kill_9_of_dvc",
    ),
    Mutation(
        "the lock of a GPU",
        "flows/execution/devices.py",
        "release = locks.take(self._lock(gpu))",
        "release = contextlib.ExitStack().close",
        "tests/flows/execution/test_devices.py",
    ),
    Mutation(
        "the lock of a study",
        "flows/search/study.py",
        'FileLock(root / ".locks" / f"sweep.{name}.lock", timeout=0),',
        "contextlib.nullcontext(),",
        "tests/flows/test_sweep.py -k one_process_per_study",
    ),
    Mutation(
        "the lease of a study that machines share",
        "flows/search/study.py",
        'leases.hold(f"sweep {name}", wait=False) if leases else contextlib.nullcontext(),',
        "contextlib.nullcontext(),",
        "tests/flows/test_sweep.py -k one_machine_per",
    ),
    Mutation(
        "the claim while DVC restores an output",
        "flows/store/dvc_store.py",
        "        with FileLock(paths.lock, timeout=0):\n            yield True",
        "        yield True",
        "tests/flows/store/test_store.py -k being_computed",
    ),
    Mutation(
        "the claim while waste is removed",
        "flows/store/gc.py",
        "with contextlib.suppress(Timeout), FileLock(_stage_run(root, folder).lock, timeout=0):",
        "with contextlib.suppress(Timeout):",
        "tests/flows/cli/test_inspect.py -k takes_up",
    ),
    Mutation(
        "the claim while a stage run is delivered to MLflow",
        "flows/tracking/delivery.py",
        "with FileLock(paths.lock, timeout=0):",
        "if True:",
        "tests/flows/tracking/test_delivery.py -k own_process",
    ),
    Mutation(
        "the lock of a run that another process records",
        "flows/tracking/abandoned.py",
        "with FileLock(lock, timeout=0):",
        "if True:",
        "tests/flows/tracking/test_abandoned.py",
    ),
    Mutation(
        "that a flow says that it works",
        "flows/execution/plan_file.py",
        'with locks.hold(lock, "begin"), no_questions():',
        "with no_questions():",
        "tests/flows/execution/test_keep.py",
    ),
    Mutation(
        "that trials stay while another flow works",
        "flows/execution/plan_file.py",
        "        if others_work(root):\n            return []",
        "",
        "tests/flows/execution/test_keep.py",
    ),
    Mutation(
        "the lock of plan.yaml",
        "flows/execution/plan_file.py",
        'locks.hold(root / ".locks" / "plan.lock", f"change {settings.PLAN_FILE}", pause=pause)',
        "contextlib.nullcontext()",
        "tests/flows/execution/test_keep.py",
    ),
    Mutation(
        "the lock of what is to be pushed",
        "flows/store/remote.py",
        'locks.hold(self.root / ".locks" / "to-push.lock", "note what the DVC remote lacks", self._warn)',
        "contextlib.nullcontext()",
        "tests/flows/cli/test_places.py -k under_a_lock",
    ),
    Mutation(
        "that a lease is confirmed before an output is committed",
        "flows/execution/session.py",
        "lease.confirm()",
        "pass",
        "tests/flows/store/test_remote.py -k frozen",
    ),
    Mutation(
        "that a lease has one owner",
        "flows/execution/lease.py",
        "t.c.token == row.token, t.c.until < now)",
        "t.c.token == row.token)",
        "tests/flows/store/test_remote.py -k one_owner",
    ),
    Mutation(
        "that a lease that lapsed is not renewed",
        "flows/execution/lease.py",
        ", t.c.until >= now).values(until=now + seconds)",
        ").values(until=now + seconds)",
        "tests/flows/execution/test_lease.py",
    ),
    Mutation(
        "the lock of a folder that is fetched into",
        "data_registry/storage/fetch.py",
        'with FileLock(folder / ".lock", timeout=0):',
        "if True:",
        "tests/data_registry/storage/test_fetch.py -k one_process_at",
    ),
    Mutation(
        "the lock of a shard that is on its way",
        "data_registry/storage/streamed.py",
        'with waiting.hold(path.with_name(f"{path.name}.lock"), f"bring the shard {shard.name}"):',
        "with contextlib.nullcontext():",
        "tests/data_registry/storage/test_streamed.py -k 'two_readers or worker_processes'",
    ),
    Mutation(
        "the lock of the room that shards have",
        "data_registry/storage/streamed.py",
        'with waiting.hold(self.folder / ".lock", f"make room for the shard {shard.name}"):',
        "with contextlib.nullcontext():",
        "tests/data_registry/storage/test_streamed.py",
    ),
    Mutation(
        "the lock of a shard's beginning",
        "data_registry/storage/streamed.py",
        "with contextlib.suppress(Timeout), FileLock(f\"{path.with_suffix('')}.lock\", timeout=0):",
        "with contextlib.suppress(Timeout):",
        "tests/data_registry/storage/test_streamed.py",
    ),
    Mutation(
        "the lock of a table of features",
        "tasks/training/features.py",
        'with locks.hold(lock, "read the features of images"):',
        "with contextlib.nullcontext():",
        "tests/tasks/training/test_features.py -k share_the_work",
    ),
    # Digests and identities
    Mutation(
        "the digest of every file of an output",
        "tasks/identity/manifest.py",
        'if digest_of_file(path) != files[name]["sha256"]:',
        "if False:",
        f"{_STAGE} -k damage",
    ),
    Mutation(
        "the size of every file",
        "tasks/identity/manifest.py",
        'if size != files[name]["bytes"]:',
        "if False:",
        f"{_STAGE} -k sizes_alone",
    ),
    Mutation(
        "that no file is missing",
        "tasks/identity/manifest.py",
        '            raise Damaged(f"{out / name}: is missing")',
        "            continue",
        f"{_STAGE} -k damage",
    ),
    Mutation(
        "that no file is there in addition",
        "tasks/identity/manifest.py",
        '            raise Damaged(f"{out / name}: is not in the manifest")',
        "            continue",
        f"{_STAGE} -k damage",
    ),
    Mutation(
        "the digest of the manifest itself",
        "tasks/identity/manifest.py",
        'if digest_of(files) != manifest["content"]:',
        "if False:",
        f"{_STAGE} -k altered_manifest",
    ),
    Mutation(
        "that inputs are digested before they are used",
        "tasks/stage/harness.py",
        "        verify_inputs(inputs)\n",
        "",
        f"{_STAGE} -k damaged_input",
    ),
    Mutation(
        "that an input which was replaced meanwhile is noticed",
        "tasks/stage/harness.py",
        'if now["inputs"] != job.identity["inputs"]:',
        "if False:",
        f"{_STAGE} -k replaced_meanwhile",
    ),
    Mutation(
        "that an output is of the identity asked for",
        "tasks/identity/identity.py",
        'return identity is None or published["identity"] == json.loads(json.dumps(identity))',
        "return True",
        _STAGE,
    ),
    Mutation(
        "that only a whole output is put in its place after a kill",
        "tasks/stage/publishing.py",
        "if is_whole(paths.partial, identity):",
        "if paths.partial.exists():",
        f"{_STAGE} -k half_written_output",
    ),
    Mutation(
        "that checkpoints of another identity are dropped",
        "tasks/stage/publishing.py",
        'if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:',
        "if not stamp.exists():",
        f"{_STAGE} -k same_identity_only",
    ),
    Mutation(
        "that a scratch which is further on is not taken",
        "tasks/stage/early_stop.py",
        'if not 0 < _reached(kept) < frac_of(identity["parts"]):',
        "if not 0 < _reached(kept):",
        "tests/tasks/stage/test_stopped.py",
    ),
    Mutation(
        "that git's copy is of this identity and whole",
        "tasks/stage/committed.py",
        "if not is_whole(paths.partial, identity):",
        "if False:",
        "tests/tasks/stage/test_committed.py",
    ),
    Mutation(
        "that a file is on the disk before it has its name",
        "tasks/identity/files.py",
        "os.fsync(file.fileno())",
        "pass",
        "tests/tasks/identity/test_files.py",
    ),
    Mutation(
        "the digest of a package's weights",
        "tasks/pretraining/packages.py",
        "if digest != params.sha256:",
        "if False:",
        "tests/tasks/pretraining/test_packages.py",
    ),
    Mutation(
        "the digest of a user's conversations",
        "tasks/sources/given_data.py",
        "if digest.hexdigest() != given:",
        "if False:",
        "tests/tasks/sources/test_given_data.py -k another_set",
    ),
    Mutation(
        "the digest of a user's scenes",
        "tasks/sources/given_scenes.py",
        "    if digest != given:",
        "    if False:",
        "tests/tasks/sources/test_given_scenes.py -k another_set",
    ),
    Mutation(
        "the digest of a user's pictures",
        "tasks/sources/given_pictures.py",
        "if digest.hexdigest() != given:",
        "if False:",
        "tests/tasks/test_annotate.py",
    ),
    Mutation(
        "the digest of a fetched file",
        "data_registry/storage/fetch.py",
        "if file.sha256 is not None and sha256 != file.sha256:",
        "if False:",
        "tests/data_registry/storage/test_fetch.py -k 'altered or stays_wrong'",
    ),
    Mutation(
        "the digest that the source itself names",
        "data_registry/storage/fetch.py",
        "elif md5 is not None and its_md5 != md5:",
        "elif False:",
        "tests/data_registry/storage/test_fetch.py -k 'altered or stays_wrong'",
    ),
    Mutation(
        "that what DVC's cache has damaged is dropped from it",
        "flows/store/dvc_adapter.py",
        'if digest != object_name.removesuffix(".dir"):',
        "if False:",
        "tests/flows/store/test_store.py -k damaged",
    ),
    Mutation(
        "that a plan that was cut off is noticed",
        "tasks/identity/settings.py",
        'if PLAN_END in text.partition("\\n")[0] and',
        "if False and",
        "tests/tasks/stage/test_places.py -k plan",
    ),
]


def copy(target: Path) -> None:
    """Copy the working tree without what is made from it."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*_SKIPPED), symlinks=True)
    subprocess.run(["git", "init", "-q", str(target)], check=True)


def killer(root: Path, mutation: Mutation) -> str:
    """The first test that fails without what the mutation takes away; empty where all pass."""
    path = root / mutation.file
    text = path.read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1, f"{mutation.file}: has {mutation.old!r} {text.count(mutation.old)} times"
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    words = f"{sys.executable} -m pytest -x -q -p no:cacheprovider -m 'not slow' {mutation.tests}"
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.Popen(
        ["/bin/sh", "-c", words], cwd=root, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        printed, _ = child.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"{mutation.tests} (hangs)"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        path.write_text(text, encoding="utf-8")
    if child.returncode not in (0, 1):
        raise SystemExit(f"{mutation.what}: pytest ends with {child.returncode}:\n{printed[-2000:]}")
    failed = [line.split()[1] for line in printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else ""


def main(words: list[str]) -> None:
    """Try each mutation; exit 1 where one is not noticed."""
    wanted = [word for word in words if not word.startswith("--")]
    chosen = [one for one in MUTATIONS if not wanted or any(word in f"{one.what} {one.file}" for word in wanted)]
    rows, unnoticed = [], 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        copy(root)
        for mutation in chosen:
            test = killer(root, mutation)
            unnoticed += not test
            print(f"{'     ' if test else 'NONE '}{mutation.what}: {test}", flush=True)
            rows.append(f"| {mutation.what} | `{mutation.file}` | {f'`{test}`' if test else '**none**'} |")
    if "--write" in words:
        head = f"# What each lock, claim and check is good for\n\n{__doc__}\n\n| taken away | in | which test fails |\n"
        PAGE.write_text(head + "|---|---|---|\n" + "\n".join(rows) + "\n", encoding="utf-8")
    raise SystemExit(unnoticed > 0)


if __name__ == "__main__":
    main(sys.argv[1:])
