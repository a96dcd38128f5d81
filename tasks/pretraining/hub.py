"""Foundation models that the Hugging Face hub has, by pinned revision."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_registry.errors import InputError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class HubParams:
    """A model of the hub, by a pinned revision."""

    repo: str
    revision: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise InputError(
                f"params.yaml: revision {self.revision!r} of {self.repo} is no commit; "
                "write the 40 hex digits of the one to use"
            )
