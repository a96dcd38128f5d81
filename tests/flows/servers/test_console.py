"""A flow's terminal shows its own progress and none of Prefect's log lines."""

import subprocess
import sys

from tests.flows.conftest import REPO

_SCRIPT = """
import logging
from flows.servers.prefect_client import quiet_console
quiet_console()
from prefect import flow
from prefect.logging.handlers import PrefectConsoleHandler
loggers = [logging.getLogger(name) for name in (None, "prefect", "prefect.flow_runs", "prefect.task_runs")]
print([handler for logger in loggers for handler in logger.handlers if isinstance(handler, PrefectConsoleHandler)])
"""


def test_prefect_is_quiet_also_where_it_is_imported_later():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
