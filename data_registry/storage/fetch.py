"""Brings the files of a card into a folder: in parallel, going on where a transfer broke, and checked before use.
A file appears under its name when it is whole and its digest is right; until then it is NAME.partial.

Why not boto3's own transfers, or rclone: they begin a broken file again, and know no digests of cards. Of hundreds of
gigabytes over days, what is here already must count.
"""

import contextlib
import fnmatch
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from data_registry.cards.card import Card, File
from data_registry.errors import InputError
from data_registry.storage import hub, s3
from data_registry.storage.fetch_record import FetchRecord, FileStatus, count, digest

_BLOCK = 1 << 22
_WHOLE = 3  # times a file is fetched from its start before it is given up
_LONGEST_PAUSE = 30.0  # seconds
_HEADROOM = 1 << 28  # bytes left free on the disk

Progress = Callable[[int, int], None]


class _Stopped(Exception):
    """Another thread failed, or the user stopped: leave everything as it is."""


@dataclass(slots=True)
class _Job:
    """What the threads of one fetch share. total: bytes, once all sources have been asked."""

    source: s3.Source
    record: FetchRecord | None
    progress: Progress
    note: Callable[[str], None]
    patience: int
    pause: float
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    total: int = 0
    done: dict[str, int] = field(default_factory=dict)

    def add(self, file: File, size: int) -> None:
        with self.lock:
            self.done[file.path] = self.done.get(file.path, 0) + size
            self.progress(sum(self.done.values()), self.total)

    def begin_again(self, file: File) -> None:
        with self.lock:
            self.done.pop(file.path, None)


def fetch(
    card: Card,
    folder: str | Path,
    only: str = "*",
    workers: int = 8,
    progress: Progress = lambda done, total: None,
    note: Callable[[str], None] = lambda text: None,
    patience: int = 8,
    pause: float = 1.0,
) -> list[FileStatus]:
    """Bring what is missing, cut off or altered; what is good stays and costs a look at its size and time.

    Args:
        card: of the data set.
        folder: of this data set; made if needed.
        only: pattern of the paths to bring, e.g. "train_0*".
        workers: transfers at the same time.
        progress: called with the bytes done and the bytes in all; from any thread, one at a time.
        note: called with a sentence for each file that was cut off or altered.
        patience: how often in a row a transfer may break without a byte of progress.
        pause: seconds before it is tried again, doubled each time.

    Returns:
        What lies there now, every entry usable.

    Raises:
        InputError: a set that the user has to bring (what to do, and what is missing), no access, no space, or a file
            that stays wrong. The other files are brought first.
    """
    folder = Path(folder)
    files = chosen(card, only)
    if card.obtain.how == "made":
        raise InputError(f"{card.name}: is made, not fetched: {card.obtain.put}")
    if card.obtain.how == "folder":
        return _brought(card, folder, only, progress)
    if card.obtain.how == "hub":
        hub.need_revision(card, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        record = FetchRecord(folder)
        wanted = []
        for file in files:
            status = record.check(file, thorough=False)
            if status.state == "wrong":
                note(f"{folder / file.path}: {status.detail}; fetching it again")
            if status.state != "good":
                wanted.append(file)
        if card.obtain.how == "hub":
            hub.bring(card, wanted, folder, record, note)
        else:
            _bring(
                _Job(s3.Source(card.name, card.obtain), record, progress, note, patience, pause),
                wanted,
                folder,
                workers,
            )
        return [record.check(file, thorough=False) for file in files]


def bring(source: s3.Source, file: File, folder: Path, patience: int = 8, pause: float = 1.0) -> Path:
    """One file by itself, going on where a transfer broke; returns where it lies. Nobody else may bring it meanwhile.

    Args:
        file: what is known of its size and digest is checked.
        patience, pause: as in `fetch`.

    Raises:
        InputError: no access, not there, or it stays wrong or unreachable.
    """
    job = _Job(source, None, lambda done, total: None, lambda text: None, patience, pause)
    _bring_one(job, file, folder, _stat(job, file))
    return folder / file.path


def verify(
    card: Card,
    folder: str | Path,
    only: str = "*",
    progress: Progress = lambda done, total: None,
    thorough: bool = True,
) -> list[FileStatus]:
    """Hash every file and compare it with the card, or with the record of its download. Changes no file.

    A file of which neither says anything is recorded, so that the next `verify` can. `thorough`: also a file whose size
    and time are those of the record.
    """
    folder, files = Path(folder), chosen(card, only)
    pictures = [entry for entry in card.pictures if fnmatch.fnmatch(entry.path, only)]
    if not folder.is_dir():
        paths = [*(file.path for file in files), *(picture.path for picture in pictures)]
        return [FileStatus(path, "missing") for path in paths]
    total = sum((folder / file.path).stat().st_size for file in files if (folder / file.path).is_file())
    done = 0

    def passed(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    with alone(folder):
        record, statuses = FetchRecord(folder), []
        for file in files:
            state = record.check(file, thorough, passed)
            if state.state == "unchecked":
                record.remember(file, digest(folder / file.path, passed))
                state = FileStatus(file.path, "recorded", "nothing said what it must be; later changes will be noticed")
            statuses.append(state)
    return [*statuses, *(count(folder, entry) for entry in pictures)]


def chosen(card: Card, only: str) -> list[File]:
    """The files of a card that match a pattern; InputError if it matches nothing there is."""
    files = [file for file in card.files if fnmatch.fnmatch(file.path, only)]
    if not files and card.files and not any(fnmatch.fnmatch(entry.path, only) for entry in card.pictures):
        some = ", ".join(file.path for file in card.files[:4])
        raise InputError(f"{card.name}: no file matches {only!r}; there are {some}{', ...' * (len(card.files) > 4)}")
    return files


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time in a folder; the system frees the lock of a process that died."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(f"{folder}: another process fetches or verifies here; wait for its end") from None


def _brought(card: Card, folder: Path, only: str, progress: Progress) -> list[FileStatus]:
    """Of a set that the user brings: what lies here, or what there is to do."""
    statuses = verify(card, folder, only, progress, thorough=False)
    lacking = [status for status in statuses if not status.usable]
    if not lacking:
        return statuses
    first = f"First accept the licence ({card.license}) at {card.obtain.accept}\n" if card.obtain.accept else ""
    named = "\n".join(
        f"  {folder / entry.path}: {entry.state}{', ' * bool(entry.detail)}{entry.detail}" for entry in lacking
    )
    raise InputError(
        f"{card.name}: ask its source for it yourself; what you get goes into {folder}\n"
        f"{first}Then {card.obtain.put}\nStill to come:\n{named}"
    )


def _bring(job: _Job, files: list[File], folder: Path, workers: int) -> None:
    """All files, each by one thread; the errors of all at the end."""
    if not files:
        return
    problems: list[str] = []

    def run(work: Callable[[File], None]) -> None:
        with ThreadPoolExecutor(max(1, workers)) as pool:
            try:
                futures = [pool.submit(_reported, work, file, problems) for file in files]
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                job.stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    versions: dict[str, tuple[int, str, str | None]] = {}
    run(lambda file: versions.update({file.path: _stat(job, file)}))
    if problems:
        raise InputError("\n".join(problems))
    job.total = sum(size for size, _, _ in versions.values())
    here = sum(_partial(folder, file).stat().st_size for file in files if _partial(folder, file).exists())
    free = shutil.disk_usage(folder).free
    if job.total - here + _HEADROOM > free:
        raise InputError(
            f"{folder}: {job.total - here:,} bytes are to come and {free:,} are free; free some, "
            "choose another folder, or fetch a part (--only)"
        )
    run(lambda file: _bring_one(job, file, folder, versions[file.path]))
    if problems:
        raise InputError("\n".join(problems))


def _reported(work: Callable[[File], None], file: File, problems: list[str]) -> None:
    try:
        work(file)
    except InputError as error:
        problems.append(str(error))
    except _Stopped:
        pass


def _stat(job: _Job, file: File) -> tuple[int, str, str | None]:
    """Size, version and MD5 at the source, which must be as large as the card says."""
    failed = 0
    while True:
        try:
            size, etag, md5 = job.source.stat(file)
        except s3.Interrupted as error:
            failed += 1
            _pause(job, failed, error)
            continue
        if file.size is not None and size != file.size:
            raise InputError(
                f"{job.source.name}: {file.path}: has {size:,} bytes at the source, {file.size:,} in the card; "
                "if the source published a new version, correct the card"
            )
        return size, etag, md5


def _bring_one(job: _Job, file: File, folder: Path, version: tuple[int, str, str | None]) -> None:
    """One file under its name, whole and right."""
    target, partial = folder / file.path, _partial(folder, file)
    target.parent.mkdir(parents=True, exist_ok=True)
    problem = ""
    for _ in range(_WHOLE):
        size, etag, md5 = version
        try:
            sha256, its_md5 = _download(job, file, partial, size, etag)
        except s3.Changed:
            problem = "changed at the source while it was fetched"
            version = _stat(job, file)
        else:
            if file.sha256 is not None and sha256 != file.sha256:
                problem = f"altered: its SHA-256 is {sha256}, its card says {file.sha256}"
            elif md5 is not None and its_md5 != md5:
                problem = f"altered on its way: its MD5 is {its_md5}, the source says {md5}"
            else:
                partial.replace(target)
                _marker(partial).unlink(missing_ok=True)
                if job.record is not None:
                    job.record.remember(file, sha256)
                return
        job.note(f"{target}: {problem}; fetching it again")
        partial.unlink(missing_ok=True)
        job.begin_again(file)
    raise InputError(f"{target}: {problem}, {_WHOLE} times; the source or the card is wrong, so it was not kept")


def _download(job: _Job, file: File, partial: Path, size: int, etag: str) -> tuple[str, str]:
    """A version of a file into `partial`, after what is there already; returns SHA-256 and MD5."""
    marker, version = _marker(partial), f"{etag} {size}"
    if not marker.exists() or marker.read_text() != version:
        partial.unlink(missing_ok=True)
        marker.write_text(version)
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with partial.open("a+b") as out:
        out.seek(0)
        while block := out.read(_BLOCK):
            sha256.update(block)
            md5.update(block)
            job.add(file, len(block))
        have, failed = out.tell(), 0
        while have < size:
            try:
                for block in job.source.chunks(file, have, etag):
                    if job.stop.is_set():
                        raise _Stopped
                    out.write(block)
                    sha256.update(block)
                    md5.update(block)
                    have, failed = have + len(block), 0
                    job.add(file, len(block))
                if have < size:
                    raise s3.Interrupted(f"{file.path}: the source sent {have:,} of {size:,} bytes")
            except s3.Interrupted as error:
                failed += 1
                _pause(job, failed, error)
        if have > size:  # it began again where it should have gone on
            raise s3.Changed
        out.flush()
        os.fsync(out.fileno())
    return sha256.hexdigest(), md5.hexdigest()


def _pause(job: _Job, failed: int, error: s3.Interrupted) -> None:
    """Wait a little longer after each failure in a row; give up when patience ends."""
    if failed > job.patience:
        raise InputError(f"{error}; given up after {failed} attempts, run the same again to go on from here") from None
    if job.stop.wait(min(_LONGEST_PAUSE, job.pause * 2 ** (failed - 1))):
        raise _Stopped


def _partial(folder: Path, file: File) -> Path:
    return folder / f"{file.path}.partial"


def _marker(partial: Path) -> Path:
    """Says which version of the object a partial file is the beginning of."""
    return partial.with_name(partial.name + ".version")
