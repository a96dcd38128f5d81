"""A mark on disk: trackers may lack something, or have a run open. It stays until a flow has delivered all."""

from pathlib import Path

_MARK = Path(".work") / "pending-deliveries"


def mark_pending(root: Path) -> None:
    """Say that there is something a tracker may not have."""
    (root / _MARK).parent.mkdir(exist_ok=True)
    (root / _MARK).touch()


def pending_since(root: Path) -> int | None:
    """When something was last marked, in nanoseconds since the epoch; None where nothing is pending."""
    try:
        return (root / _MARK).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def clear_pending(root: Path, since: int | None) -> None:
    """Take the mark away, unless something was marked after `since`."""
    if pending_since(root) == since:
        (root / _MARK).unlink(missing_ok=True)
