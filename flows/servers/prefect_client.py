"""What a flow leaves in Prefect's UI, and what it keeps out of the terminal."""

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subprocess import Popen

    from prefect._internal.concurrency.services import QueueService


_gone = threading.Event()  # the flow's own server has died


@contextlib.contextmanager
def until_gone(process: "Popen") -> Iterator[None]:
    """Watch the flow's own server: once it has died, Prefect's clients are to give up at once.

    They would try each request for a minute and each event for eight seconds, one after the other, before this process
    could end; and nobody comes back to answer.
    """
    over = threading.Event()
    if _gone.is_set():  # an earlier one, of an earlier flow of this process
        _gone.clear()
        _retry_requests(True)

    def watch() -> None:
        process.wait()
        if not over.is_set():
            _gone.set()
            _retry_requests(False)

    threading.Thread(target=watch, name="watches Prefect's server", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _retry_requests(retry: bool) -> None:
    """Whether requests are tried again and log lines sent, as the user's settings have it; Prefect looks each time."""
    from prefect.settings import Settings, get_current_settings

    configured, used = Settings(), get_current_settings()
    used.client.max_retries = configured.client.max_retries if retry else 0
    used.logging.to_api.enabled = configured.logging.to_api.enabled and retry


def send_the_rest() -> None:
    """Deliver Prefect's queued logs and events while its server still listens; drop them where it has died."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    gone = _gone.is_set()
    # Of these Prefect has no public way to drop what waits.
    workers: tuple[type[QueueService[Any]], ...] = (EventsWorker, APILogWorker)
    for worker in workers:
        for instance in list(worker._instances.values()) if gone else []:
            with contextlib.suppress(queue.Empty):
                while True:
                    instance._queue.get_nowait()
        worker.drain_all(timeout=0 if gone else 10, at_exit=False)


def quiet_console() -> None:
    """Prefect's log lines stay in its UI; the terminal has our own progress."""
    import logging

    import prefect.main  # noqa: F401 (sets the handlers up; imported later, it would undo this)
    from prefect.logging.handlers import PrefectConsoleHandler

    for name in ("prefect", "prefect.flow_runs", "prefect.task_runs", None):
        logger = logging.getLogger(name)
        logger.handlers = [handler for handler in logger.handlers if not isinstance(handler, PrefectConsoleHandler)]
