"""The project of the trackers' own tests."""

from tests.tasks.tracking.conftest import root as root
