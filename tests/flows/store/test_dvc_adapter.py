"""Each private part of DVC that `flows.store.dvc_adapter` leans on: an upgrade that moves it fails here by its name."""

import importlib
import inspect
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.store import dvc_adapter
from flows.store.dvc_store import RESTORED, THERE
from tests.flows.conftest import REPO

# Its place, and the parameters that we give it by name or count on.
SYMBOLS = {
    "dvc.prompt:ask": ["prompt", "limited_to"],
    "dvc.prompt:confirm": ["statement"],
    "dvc.prompt:password": ["statement"],
    "dvc.lock:LockError": None,
    "dvc.lock:make_lock": ["lockfile", "tmp_dir", "friendly", "hardlink_lock", "wait"],
    "dvc.repo:lock_repo": ["repo"],
    "dvc.repo:Repo.close": ["self"],
    "dvc.repo:Repo.used_objs": None,
    "dvc.repo:Repo.gc": None,
    "dvc.rwlock:RWLOCK_FILE": None,
    "dvc.rwlock:RWLOCK_LOCK": None,
    "dvc.utils.serialize:LOADERS": None,
    "dvc.utils.serialize:parse_yaml": ["text", "path", "typ"],
    "dvc.utils.serialize:parse_yaml_for_update": ["text", "path"],
    "dvc.utils.serialize:dumps_yaml": ["d"],
    "dvc.dvcfile:load_file": ["repo", "path"],
    "dvc.dvcfile:Lockfile.validate": ["d", "fname"],
    "dvc.dvcfile:ProjectFile.resolver": None,
    "dvc.parsing:EntryNotFound": None,
    "dvc.parsing:DataResolver.resolve_one": ["self", "name"],
    "dvc.stage.loader:StageLoader.load_stage": ["dvcfile", "name", "stage_data", "lock_data"],
    "dvc.stage.serialize:to_single_stage_lockfile": ["stage"],
    "dvc.stage:Stage.save": ["self"],
    "dvc.stage:Stage.commit": ["self"],
    "dvc.stage:Stage.changed": ["self"],
    "dvc.stage:Stage.changed_outs": ["self"],
    "dvc.stage:Stage.changed_stage": ["self"],
    "dvc.stage:Stage.deps_cached": ["self"],
    "dvc.stage:Stage.get_used_objs": ["self"],
    "dvc.stage.cache:RunCacheNotFoundError": None,
    "dvc.stage.cache:StageCache.restore": ["self", "stage", "run_cache", "pull"],
    "dvc.stage.cache:StageCache._load": ["self", "stage"],
    "dvc.stage.cache:StageCache._load_cache": ["self", "key", "value"],
    "dvc.stage.cache:StageCache._get_cache_dir": ["self", "key"],
    "dvc.stage.cache:_get_stage_hash": ["stage"],
    "dvc.stage.cache:_can_hash": ["stage"],
    "dvc.stage:Stage.save_deps": ["self", "allow_missing"],
    "dvc.data_cloud:DataCloud.push": ["self", "objs"],
    "dvc.data_cloud:DataCloud.get_remote_odb": ["self", "name", "command", "hash_name"],
    "dvc_objects.db:ObjectDB.oid_to_path": ["self", "oid"],
    "dvc_objects.fs.generic:copy": ["from_fs", "from_path", "to_fs", "to_path"],
}
# What a replacement of ours has to be looked up through: a copy of it elsewhere would still be the old one.
USES = {
    "dvc.output": ["prompt.confirm"],
    "dvc.prompt": ["ask(prompt"],
    "dvc.utils.serialize": ["LOADERS["],
    "dvc.repo": ["repo._lock_depth = depth", "with repo.lock:"],
}


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_dvc_still_has(symbol):
    module, _, path = symbol.partition(":")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    wanted = SYMBOLS[symbol]
    if wanted is not None:
        function = getattr(found, "__func__", found)
        assert set(wanted) <= set(inspect.signature(function).parameters), inspect.signature(function)


@pytest.mark.parametrize("module", USES)
def test_dvc_still_looks_up(module):
    text = inspect.getsource(importlib.import_module(module))
    for words in USES[module]:
        assert words in text, words


def test_nobody_else_touches_dvc():
    """But for the names of its two public classes, for type checkers."""
    allowed = {"from dvc.repo import Repo", "from dvc.stage import Stage"}
    for path in sorted(REPO.joinpath("flows").rglob("*.py")):
        if path.name in ("dvc_adapter.py", "dvc_files.py"):
            continue
        used = {line.strip() for line in path.read_text().splitlines() if re.match(r"\s*(from|import) dvc", line)}
        assert used <= allowed, path


def test_what_a_repository_has_is_where_we_look(project):
    with dvc_adapter.repository(project.root) as repo:
        assert Path(repo.tmp_dir) == project.root / ".dvc" / "tmp"
        assert repo._lock_depth == 0
        assert dvc_adapter.cache_folder(repo) == project.root / ".dvc" / "cache" / "files" / "md5"
        assert not dvc_adapter.has_remote(repo)
        assert repo.stage_cache.repo is repo
        assert Path(repo.cache.legacy.path) == project.root / ".dvc" / "cache"
        with dvc_adapter.locked(repo, print):
            assert repo.lock.is_locked


def test_dvc_writes_the_number_of_who_holds_its_lock(project):
    with dvc_adapter.repository(project.root) as repo, dvc_adapter.locked(repo, print):
        assert dvc_adapter._holder(Path(repo.tmp_dir, "lock")) == {"pid": os.getpid()}


ASK = """
from pathlib import Path
from dvc import prompt
from flows.store import dvc_adapter

with dvc_adapter.repository(Path.cwd()):
    print("said", prompt.confirm("remove it?"))
    try:
        prompt.password("for the remote")
    except Exception as error:
        print(type(error).__name__)
"""


def test_dvc_asks_nobody_on_a_terminal_either(project):
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=project.root,
        env=project.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        timeout=300,
        check=False,
    )
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0, said
    assert "said None" in said and "InputError" in said and "remove it" not in said


@pytest.mark.parametrize("key", ["seed", "size"])  # DVC's run-cache takes no note of a key called "size"
def test_an_output_made_by_hand_with_other_parameters_is_moved_aside_and_comes_back(project, session, key):
    """DVC would ask whether to remove it; it is nowhere else. Then its parameters return."""
    asked = project.params()
    before = (project.out("scenes/train") / "MANIFEST.json").read_bytes()
    other = project.params()
    other["scenes"]["tiny"]["each"]["train"][key] = 2
    project.set_params(other)
    project.stage("scenes/train")
    by_hand = (project.out("scenes/train") / "MANIFEST.json").read_bytes()
    assert by_hand != before
    project.set_params(asked)
    project.forget()
    assert session.store.fetch(["scenes/train"]) == {"scenes/train": RESTORED}
    assert (project.out("scenes/train") / "MANIFEST.json").read_bytes() == before

    project.set_params(other)
    assert session.store.fetch(["scenes/train"]) == {"scenes/train": RESTORED}
    assert (project.out("scenes/train") / "MANIFEST.json").read_bytes() == by_hand
    project.set_params(asked)
    assert session.store.fetch(["scenes/train"]) == {"scenes/train": RESTORED}
    assert project.executed == []
    assert not list(project.out("scenes/train").parent.glob(".*")), "once DVC has both, nothing is kept beside"


def test_what_the_remote_does_not_give_leaves_what_was_there(project, session, monkeypatch):
    """Before, the output of other parameters was removed and the remote blamed."""
    monkeypatch.setattr(dvc_adapter, "has_remote", lambda repo: True)
    monkeypatch.setattr(dvc_adapter, "restore", lambda *given, **more: (_ for _ in ()).throw(OSError("no answer")))
    other = project.params()
    other["scenes"]["tiny"]["each"]["train"]["size"] = 2
    project.set_params(other)
    before = (project.out("scenes/train") / "MANIFEST.json").read_bytes()
    assert session.store.fetch(["scenes/train"]) == {}
    assert (project.out("scenes/train") / "MANIFEST.json").read_bytes() == before


def test_dvc_repro_after_a_command_typed_by_hand_computes_nothing(project):
    project.stage("scenes/train")
    project.forget()
    project.run(sys.executable, "-m", "dvc", "repro", "scenes@train")
    assert project.executed == []
    assert "up to date" in project.run(sys.executable, "-m", "dvc", "status", "scenes@train")


@pytest.mark.parametrize(
    "who",
    [
        {"pid": os.getpid(), "cmd": "dvc repro"},  # in a container, or after a reboot, the number is ours now
        {"pid": os.getppid(), "cmd": "dvc repro --pull scenes@train"},  # or somebody's
    ],
    ids=["own", "anothers"],
)
def test_a_number_that_is_used_again_blocks_nobody(project, session, who):
    users = project.root / ".dvc" / "tmp" / "rwlock"
    path = str(project.out("scenes/train"))
    users.write_text(json.dumps({"write": {path: who}, "read": {path: [who]}}))
    shutil.rmtree(project.out("scenes/train"))
    assert session.store.fetch(["scenes/train"]) == {"scenes/train": RESTORED}
    session.store.commit("scenes/train")
    assert path not in users.read_text()


def test_who_waits_for_a_dvc_repro_says_for_whom(project, session, monkeypatch):
    """One that lives and uses the output: `Store.commit` waits for it, tells, and can be stopped."""

    class Stop(Exception):
        pass

    said = []

    def pause(seconds, doing):
        if said:
            raise Stop

    alive = [sys.executable, "-c", "import sys; sys.stdin.read()", "repro", "scenes@train"]
    other = subprocess.Popen(alive, stdin=subprocess.PIPE)
    try:
        users = project.root / ".dvc" / "tmp" / "rwlock"
        path = str(project.out("scenes/train"))
        users.write_text(json.dumps({"write": {path: {"pid": other.pid, "cmd": "dvc repro scenes@train"}}, "read": {}}))
        monkeypatch.setattr("tasks.stage.locks.SILENT_S", 0.0)
        session.store._warn, session.store._pause = said.append, pause
        with pytest.raises(Stop):
            session.store.commit("scenes/train")
        assert f"PID {other.pid}" in said[0] and "dvc repro scenes@train" in said[0], said
        assert session.store.fetch(["scenes/test"]) == {"scenes/test": THERE}, "others go on"
    finally:
        other.communicate()


def test_dvc_lock_alone_is_enough_to_restore_an_output(project, session):
    """As in a clone whose cache or remote has the outputs and no run-cache (`dvc push` alone)."""
    shutil.rmtree(project.root / ".dvc" / "cache" / "runs")
    shutil.rmtree(project.out("scenes/train"))
    assert session.store.fetch(["scenes/train"]) == {"scenes/train": RESTORED}
