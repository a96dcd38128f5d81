"""Says in one line how much a stage left out of what it was given, and why; nothing kept is an error."""

from collections.abc import Mapping

from data_registry.errors import InputError


def left_out(stage_run: str, kept: int, of: int, things: str, reasons: Mapping[str, int], where: str) -> None:
    """Print the counts by reason, the most frequent first, if there are any.

    Args:
        kept, of: how many `things` (objects, samples...) there are now, and were.
        reasons: counts by reason; reasons may overlap, so they need not add up.
        where: the file or key to look at where nothing was kept.

    Raises:
        InputError: nothing was kept of what there was.
    """
    dropped = {reason: n for reason, n in reasons.items() if n}
    listed = ", ".join(f"{reason} {n:,}" for reason, n in sorted(dropped.items(), key=lambda item: (-item[1], item[0])))
    if of and not kept:
        raise InputError(f"{where}: none of {of:,} {things} is kept; left out: {listed}")
    if listed:
        print(f"{stage_run}: {kept:,} of {of:,} {things} kept; left out: {listed}", flush=True)
