"""Fetching from the hub, against a server on localhost that answers as the hub does."""

import dataclasses
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_registry.cards.card import Card, File, Obtain
from data_registry.errors import InputError
from data_registry.storage import fetch

REVISION = "0123456789abcdef0123456789abcdef01234567"
CONTENT = b"[1, 2, 3]\n" * 1000
GOOD = File("data.json", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
CARD = Card(
    name="toy",
    title="Toy",
    kind="source",
    source="a/b",
    license="CC BY",
    obtain=Obtain("hub", repo="a/b", revision=REVISION, accept="https://x/licence"),
    files=(GOOD,),
)


class _Hub(BaseHTTPRequestHandler):
    """Answers for one file of one revision; `gated` refuses as the hub does; `cut`: closes instead of sending."""

    content = CONTENT
    gated = cut = False

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        if self._answer() and not self.cut:
            self.wfile.write(self.content)

    def _answer(self) -> bool:
        there = self.path == f"/datasets/a/b/resolve/{REVISION}/data.json"
        self.send_response(403 if self.gated else 200 if there else 404)
        if self.gated:
            self.send_header("X-Error-Code", "GatedRepo")
        elif there:
            self.send_header("X-Repo-Commit", REVISION)
            self.send_header("ETag", f'"{hashlib.sha256(self.content).hexdigest()}"')
            self.send_header("Accept-Ranges", "bytes")
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(len(self.content) if there and not self.gated else 0))
        self.end_headers()
        return there and not self.gated

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    answers = type("Answers", (_Hub,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield answers
    server.shutdown()
    server.server_close()


def test_a_file_comes_by_its_revision(hub, tmp_path):
    (found,) = fetch.fetch(CARD, tmp_path)
    assert found.state == "good"
    assert (tmp_path / "data.json").read_bytes() == CONTENT
    assert sorted(p.name for p in tmp_path.iterdir()) == [".fetched.json", ".lock", "data.json"]


def test_an_altered_file_is_fetched_again_and_never_kept(hub, tmp_path):
    hub.content = CONTENT[:-1] + b"?"
    notes = []
    with pytest.raises(InputError, match=r"data\.json: altered: .*twice.*not kept"):
        fetch.fetch(CARD, tmp_path, note=notes.append)
    assert len(notes) == 1
    assert not (tmp_path / "data.json").exists()


def test_a_gated_set_says_where_its_licence_is_accepted(hub, tmp_path):
    hub.gated = True
    with pytest.raises(InputError, match=r"accept the licence \(CC BY\) at https://x/licence, log in"):
        fetch.fetch(CARD, tmp_path)


def test_a_transfer_that_keeps_breaking_is_named(hub, tmp_path, monkeypatch):
    hub.cut = True
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    with pytest.raises(InputError, match=rf"toy: a/b@{REVISION}: data\.json: .*; run the same again"):
        fetch.fetch(CARD, tmp_path)


def test_an_error_without_a_word_is_told_by_its_name(tmp_path, monkeypatch):
    def times_out(*args, **more):
        raise TimeoutError

    monkeypatch.setattr("huggingface_hub.hf_hub_download", times_out)
    with pytest.raises(InputError, match=r"data\.json: TimeoutError\(\); run the same again"):
        fetch.fetch(CARD, tmp_path)


def test_a_file_that_is_not_there_is_named(hub, tmp_path):
    card = dataclasses.replace(CARD, files=(File("none.json", None, None),))
    with pytest.raises(InputError, match=rf"toy: a/b@{REVISION}: none\.json: "):
        fetch.fetch(card, tmp_path)


def test_a_revision_must_be_pinned(tmp_path):
    card = dataclasses.replace(CARD, obtain=dataclasses.replace(CARD.obtain, revision=None))
    with pytest.raises(InputError, match=r"pins no revision of a/b.*or put data\.json into"):
        fetch.fetch(card, tmp_path / "toy")
    assert not (tmp_path / "toy").exists()
