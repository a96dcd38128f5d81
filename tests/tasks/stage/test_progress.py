"""Progress: a line on a terminal, nothing elsewhere, and always in what the claim's holder says."""

import io

import pytest
from rich.console import Console

from tasks.identity.paths import Paths
from tasks.stage.claim import Heartbeat, read_holder
from tasks.stage.progress import Progress


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_how_far_it_is_and_a_log_nothing(tmp_path, terminal):
    paths, shown = Paths(tmp_path, "tiny", "scenes", "train"), io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=100)
    with Heartbeat(paths.holder, 60.0) as heartbeat:
        with Progress("scenes train", heartbeat, console) as progress:
            progress(5, 20)
            progress(6, 20)  # too soon after the first: nobody reads that fast
            assert read_holder(paths)["done"] == 5
            progress(20, 20)
        said = read_holder(paths)
    assert (said["done"], said["total"], said["remaining_s"]) == (20, 20, 0.0)
    if terminal:
        assert "scenes train" in shown.getvalue()
        assert "20/20" in shown.getvalue()
        assert shown.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is shown again"
    else:
        assert shown.getvalue() == ""


def test_a_failure_gives_the_terminal_back(tmp_path):
    shown = io.StringIO()
    heartbeat = Heartbeat(Paths(tmp_path, "tiny", "scenes", "train").holder, 60.0)
    with pytest.raises(KeyError), Progress("scenes train", heartbeat, Console(file=shown, force_terminal=True)) as bar:
        bar(1, 20)
        raise KeyError
    assert "\x1b[?25h" in shown.getvalue()
