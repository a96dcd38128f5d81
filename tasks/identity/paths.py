"""Where the files of a stage run are."""

from dataclasses import dataclass
from pathlib import Path

from data_registry.errors import InputError

LONGEST_NAME = 220  # bytes; the longest file name is the temporary one beside a claim, "paper.foundation.NAME.json.PID"


@dataclass(frozen=True)
class Paths:
    """Where a stage run's files are, from the repository's root."""

    root: Path
    scale: str
    stage: str
    name: str

    def __post_init__(self) -> None:
        if (size := len(self.name.encode())) > LONGEST_NAME:
            raise InputError(
                f"{self.stage} {self.name[:40]}…: a name of {size} bytes; {LONGEST_NAME} at most, since file systems "
                "allow 255 and locks and temporary files add to it"
            )

    @property
    def out(self) -> Path:
        """The published output."""
        return self.root / "runs" / self.scale / self.stage / self.name

    @property
    def partial(self) -> Path:
        """The output being computed, beside the published one so that a rename puts it in place."""
        return self.out.with_name(f".{self.name}.partial")

    @property
    def replaced(self) -> Path:
        """The former output, for the moment of the exchange."""
        return self.out.with_name(f".{self.name}.replaced")

    def unrecorded(self, digest: str) -> Path:
        """A second copy of a published output, until DVC has recorded it (`tasks.stage.unrecorded`).

        Args:
            digest: of its identity.
        """
        return self.out.with_name(f".{self.name}.{digest[:16]}.unrecorded")

    @property
    def work(self) -> Path:
        """Scratch that survives a kill."""
        return self.root / ".work" / self.scale / self.stage / self.name

    @property
    def lock(self) -> Path:
        """The claim: an operating-system lock, which the kernel frees with its holder."""
        return self.root / ".locks" / f"{self.scale}.{self.stage}.{self.name}.lock"

    @property
    def holder(self) -> Path:
        """Who holds the claim and how far the work is."""
        return self.lock.with_suffix(".json")

    @property
    def log(self) -> Path:
        """What the command printed under a flow."""
        return self.root / "logs" / self.scale / self.stage / f"{self.name}.log"

    @property
    def record(self) -> Path:
        """When, where and how long it was computed: all that may differ between equal outputs."""
        return self.log.with_suffix(".json")
