"""How far a stage run is, on its terminal and in what its claim's holder says."""

import sys
import time

from tasks.stage.claim import Heartbeat


class Progress:
    """Progress of one stage run: in what its claim's holder says (for the flow and `status`) and on the terminal.

    Args:
        title: of the line on the terminal, e.g. "align clip_vicuna-7b_cc558k".
    """

    def __init__(self, title: str, heartbeat: Heartbeat) -> None:
        self.title, self.heartbeat = title, heartbeat
        self.started = self.last = time.monotonic()
        self.first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.first is None:
            self.first = done  # a resumed training starts in the middle
        elif now - self.last < 0.5 and done < total:
            return
        self.last = now
        rate = (done - self.first) / (now - self.started) if now > self.started else 0
        left = {"remaining_s": round((total - done) / rate, 1)} if rate > 0 else {}
        self.heartbeat.say(done=done, total=total, **left)
        if sys.stderr.isatty():
            text = f", {left['remaining_s']:.0f} s left" if left else ""
            line = f"\r{self.title}: {done}/{total}{text} \033[K"
            print(line, end="\n" if done >= total else "", file=sys.stderr, flush=True)
