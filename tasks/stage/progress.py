"""How far a stage run is, on its terminal and in the note beside its claim."""

import sys
import time
from typing import TYPE_CHECKING

from tasks.stage.claim import Note

if TYPE_CHECKING:
    pass


class Progress:
    """Progress of one stage run: in its claim's note (for the flow and `status`) and on the terminal.

    Args:
        title: of the line on the terminal, e.g. "align clip_vicuna-7b_cc558k".
    """

    def __init__(self, title: str, note: Note) -> None:
        self.title, self.note = title, note
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
        self.note.say(done=done, total=total, **left)
        if sys.stderr.isatty():
            text = f", {left['remaining_s']:.0f} s left" if left else ""
            line = f"\r{self.title}: {done}/{total}{text} \033[K"
            print(line, end="\n" if done >= total else "", file=sys.stderr, flush=True)
