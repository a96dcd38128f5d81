"""The error that a person can mend, and the nearest known name for its message.
Every message names the file, the key and the remedy; the command line prints it alone and exits with 2."""

import difflib
from collections.abc import Iterable

_MOST = 16  # names in one message


class InputError(ValueError):
    """What the user gave (a file, a key, a name) cannot be used as it is."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known one, or all of them (of many the first).

    >>> nearest("dinov", ["clip", "dinov2"])
    'did you mean dinov2?'
    """
    known = sorted(known)
    if not known:
        return "there is none yet"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}?"
    more = f" and {len(known) - _MOST} more" if len(known) > _MOST + 1 else ""
    return f"known: {', '.join(known[:_MOST] if more else known)}{more}"
