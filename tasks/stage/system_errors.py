"""Errors of the operating system that a person can mend, each said in one message with its remedy."""

import errno
import resource
from pathlib import Path

from tasks.stage.full_disk import WRITE_FAILED, full_disk

_MAY_NOT = (errno.EACCES, errno.EPERM, errno.EROFS)
_REMEDIES = {
    **dict.fromkeys(_MAY_NOT, "see who may write there"),
    errno.ENAMETOOLONG: "give it a shorter name",
    errno.ELOOP: "it is a link that leads back to itself; remove it",
    errno.ENOTDIR: "a file is in a folder's place; move it away, then run the same again",
    errno.EEXIST: "something else is in its place; move it away, then run the same again",
    errno.EISDIR: "a folder is in a file's place; move it away, then run the same again",
    errno.EMFILE: "raise this shell's limit of open files (`ulimit -n`), then run the same again",
    errno.ENFILE: "raise the system's limit of open files, then run the same again",
}


def system_error(error: BaseException | None, doing: str, root: Path) -> str | None:
    """The message of an error of the operating system that is not the program's fault; None for every other one.

    Args:
        doing: what could not go on, e.g. "instruct clip_vicuna-7b_cc558k_mix665k".
        root: the repository's root.
    """
    if full := full_disk(error, doing, root):
        return full
    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    while error is not None:
        code = getattr(error, "errno", None)
        if code == errno.EFBIG or (limited and ("File too large" in str(error) or WRITE_FAILED.search(str(error)))):
            return (
                f"{doing}: a file would grow beyond this shell's limit (`ulimit -f`); nothing half-written was kept. "
                "Raise the limit, then run the same again"
            )
        if isinstance(error, OSError) and code in _REMEDIES and (error.filename or code in _MAY_NOT):
            path = error.filename2 or error.filename or root
            return f"{path}: {error.strerror}; {_REMEDIES[code]}"
        error = error.__cause__ or error.__context__
    return None
