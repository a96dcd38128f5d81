"""Records that wait on disk: what a reader has to keep until a file ends, in memory that does not grow with it."""

import tempfile
from array import array

_IN_MEMORY = 1 << 24  # bytes; a small file never touches the disk


class DiskBuffer:
    """Byte strings by their number, in a temporary file (TMPDIR) beyond 16 MiB; eight bytes of memory each."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 (it lives as long as its owner)
        self._ends = array("q", [0])
        self._at_end = True

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, record: bytes) -> int:
        """Append a record; its number is returned."""
        if not self._at_end:
            self._file.seek(self._ends[-1])
            self._at_end = True
        self._file.write(record)
        self._ends.append(self._ends[-1] + len(record))
        return len(self) - 1

    def read(self, first: int, count: int = 1) -> bytes:
        """`count` records from number `first` on, joined."""
        self._at_end = False
        self._file.seek(self._ends[first])
        return self._file.read(self._ends[first + count] - self._ends[first])

    def close(self) -> None:
        self._file.close()
