"""A study on disk outlives kills and full disks; what is wrong with it, or with its database, is one message."""

import errno
import json
from pathlib import Path

import pytest
from optuna.trial import TrialState

from data_registry.errors import InputError
from flows.search import journal
from flows.search.study import open_study


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("OPTUNA_STORAGE", raising=False)
    return tmp_path


@pytest.fixture
def log(root) -> Path:
    """The journal of a study with two trials that are told."""
    with open_study(root, "s") as study:
        for value in (0.25, 0.5):
            trial = study.ask()
            trial.suggest_categorical("llm", ["vicuna-7b", "llama3-8b"])
            study.tell(trial, value)
    return root / ".optuna" / "s.log"


def values(root, warn=print) -> list[float]:
    with open_study(root, "s", warn=warn) as study:
        return [trial.values[0] for trial in study.trials if trial.state == TrialState.COMPLETE]


@pytest.mark.parametrize("rest", [b'{"op_code":4,"worker_id":"x", "tri', b"garb\xffage", b"\0" * 4096, b"{", b"5"])
def test_an_incomplete_last_line_is_dropped_and_a_copy_kept(root, log, rest):
    whole = log.read_bytes()
    log.write_bytes(whole + rest)
    warnings = []
    assert values(root, warnings.append) == [0.25, 0.5]
    assert len(warnings) == 1 and "s.log" in warnings[0] and "s.log.torn-1" in warnings[0]
    assert (log.parent / "s.log.torn-1").read_bytes() == whole + rest
    assert log.read_bytes().startswith(whole), "what was there is there"
    with open_study(root, "s", warn=warnings.append) as study:  # and it can be written to
        study.tell(study.ask(), 0.75)
    assert values(root, warnings.append) == [0.25, 0.5, 0.75]
    assert len(warnings) == 1


def test_a_journal_cut_anywhere_goes_on_with_what_was_whole(root, log):
    whole = log.read_bytes()
    for size in range(0, len(whole), 7):
        log.write_bytes(whole[:size])
        with open_study(root, "s", warn=lambda text: None) as study:
            told = sum(trial.state == TrialState.COMPLETE for trial in study.trials)
            study.tell(study.ask(), 1.0)
        with open_study(root, "s") as study:
            assert sum(trial.state == TrialState.COMPLETE for trial in study.trials) == told + 1
        for copy in log.parent.glob("*.torn-*"):
            copy.unlink()


def test_a_last_line_that_only_lacks_its_end_loses_nothing(root, log):
    whole = log.read_bytes()
    log.write_bytes(whole.rstrip(b"\n"))
    warnings = []
    assert values(root, warnings.append) == [0.25, 0.5]
    assert len(warnings) == 1 and "s.log.torn-1" in warnings[0]


@pytest.mark.parametrize("damage", [b'{"op_co{"op_code":0}\n', b"\0\0\0\n", b"garb\xffage\n", b"\n", b"[]\n", b"{}\n"])
@pytest.mark.parametrize("place", [0, 3, -1])
def test_any_other_damage_names_file_line_and_remedy(root, log, damage, place):
    lines = log.read_bytes().splitlines(keepends=True)
    number = len(lines) if place == -1 else place + 1
    lines[place] = damage
    log.write_bytes(b"".join(lines))
    with pytest.raises(InputError, match=rf"s\.log: line {number}: .*--study") as refused, open_study(root, "s"):
        pass
    assert "delete this line" in str(refused.value)
    assert log.read_bytes() == b"".join(lines), "untouched"


def test_lines_that_make_no_study_name_the_file(root, log):
    lines = log.read_bytes().splitlines(keepends=True)
    operation = json.loads(lines[0])
    log.write_bytes(b"".join([json.dumps({**operation, "op_code": 99}).encode() + b"\n", *lines[1:]]))
    with pytest.raises(InputError, match=r"s\.log: its lines do not make a study .*--study"), open_study(root, "s"):
        pass


def test_a_full_disk_leaves_no_part_of_a_line(root, log, monkeypatch):
    """The disk takes half of what is appended, as one does that fills up meanwhile."""

    def half(self, logs):
        with Path(self._file_path).open("ab") as file:
            file.write(json.dumps(logs[0]).encode()[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_study(root, "s") as study, monkeypatch.context() as patch:
        whole = log.read_bytes()
        patch.setattr(journal.JournalFileBackend, "append_logs", half)
        with pytest.raises(OSError, match="No space left"):
            study.ask()
    assert log.read_bytes() == whole
    assert values(root) == [0.25, 0.5]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("nonsense", "no address of a database"),
        ("postgresql+psycopg2:/ann:hidden@host/db", "no address of a database"),
        ("postgresql+psycopg2://ann:hidden@host:port/db", "no address of a database"),
        ("foo://ann:hidden@host/db", "no address of a database"),
        ("mysql://ann:hidden@127.0.0.1:1/db", "no address of a database"),
        ("sqlite:////nowhere/at/all.db", "does not answer"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_message_without_its_password(root, address, says, monkeypatch):
    monkeypatch.setenv("OPTUNA_STORAGE", address)
    monkeypatch.delenv("SPATIALLLM_LEASES", raising=False)
    with pytest.raises(InputError, match=rf"OPTUNA_STORAGE: .*{says}") as refused, open_study(root, "s"):
        pass
    assert "hidden" not in str(refused.value)
    assert refused.value.__cause__ is None and refused.value.__suppress_context__, "a traceback has it neither"


def test_a_database_that_nobody_answers_at_is_one_message_without_its_password(root, monkeypatch):
    pytest.importorskip("psycopg2")
    monkeypatch.setenv("OPTUNA_STORAGE", "postgresql+psycopg2://ann:hidden@127.0.0.1:1/db")
    monkeypatch.delenv("SPATIALLLM_LEASES", raising=False)
    with pytest.raises(InputError, match="does not answer") as refused, open_study(root, "s"):
        pass
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".hidden", "a b", "a\nb", "x" * 101, "a;b", "$x"])
def test_a_study_has_a_name_that_files_can_have(root, name):
    with pytest.raises(InputError, match=r"--study .* such as lr-2"), open_study(root, name):
        pass
    assert list(root.iterdir()) == []
