"""Streams a stage run's curves to the trackers while it trains.
A tracker's failure is one warning, never the training's."""

import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from tasks.identity.addresses import masked
from tasks.identity.settings import Settings
from tasks.tracking.pending import mark_pending
from tasks.tracking.recorder import Recorder
from tasks.tracking.stage_runs import deliver, spec_of
from tasks.tracking.tracker import Tracker
from tasks.tracking.trackers import trackers_of

FLUSH_SECONDS = 5.0
END_SECONDS = 30.0  # at the end of a stage run, for a server that does not answer


class Live:
    """The streams of one stage run, one per tracker.

    Args:
        identity: of the stage run.
        recorder: where the curves come from.
        started: seconds since the epoch.
    """

    def __init__(self, settings: Settings, identity: Mapping[str, Any], recorder: Recorder, started: float) -> None:
        trackers = trackers_of(settings)
        self.streams = [
            Stream(name, tracker, settings, identity, recorder, started) for name, tracker in trackers.items()
        ]

    def start(self) -> None:
        """Begin; a kill from here on leaves runs that the next flow closes."""
        if self.streams:
            mark_pending(self.streams[0].settings.root)
        for stream in self.streams:
            stream.start()

    def finish(self, published: bool) -> None:
        """Deliver the rest, but do not wait for a dead server for long."""
        for stream in self.streams:
            stream.end(published)
        deadline = time.monotonic() + END_SECONDS
        for stream in self.streams:
            if stream.connected.is_set():  # one that still imports is left to the flow
                stream.join(max(0.0, deadline - time.monotonic()))


class Stream(threading.Thread):
    """Curves of one stage run on their way to one tracker."""

    def __init__(
        self,
        name: str,
        tracker: Tracker,
        settings: Settings,
        identity: Mapping[str, Any],
        recorder: Recorder,
        started: float,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.settings = settings
        self.connected = threading.Event()
        self._tracker, self._identity, self._recorder, self._began = tracker, identity, recorder, started
        self._over = threading.Event()
        self._published = False

    def end(self, published: bool) -> None:
        """The stage run is over; what is left is delivered."""
        self._published = published
        self._over.set()

    def run(self) -> None:
        try:
            self._tracker.connect()
            if self._over.is_set():
                return
            self.connected.set()
            self._stream()
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            remedy = self._tracker.remedy(error)
            print(
                f"warning: {self.name} ({masked(self._tracker.address)}) does not take this run: "
                f"{masked(reason[0])[:300]}. history.jsonl has everything; "
                + (f"to have it delivered: {remedy}" if remedy else "the next flow delivers it"),
                file=sys.stderr,
                flush=True,
            )

    def _stream(self) -> None:
        spec = spec_of(self.settings, self._identity, self._began)
        run_id, finished = self._tracker.open(spec)
        if finished:  # computed again, e.g. after its output was damaged: it is there already
            return
        self._tracker.open(spec, resume=True)  # a killed one goes on
        while True:
            over = self._over.wait(FLUSH_SECONDS)
            self._tracker.log(run_id, curves=self._recorder.lines)
            if over:
                break
        if self._published:
            read = self._recorder.datasets.values()
            deliver(self._tracker, self.settings, self._identity["stage"], self._identity["name"], read)
        else:
            self._tracker.finish(run_id, "FAILED")
