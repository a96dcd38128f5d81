"""GPUs are handed out n at a time, distinct, also between flows; what needs none takes none."""

import queue
import threading

import pytest

from data_registry.errors import InputError
from flows.execution import devices
from flows.execution.devices import CPU, GPU, Devices
from flows.execution.stopping import Stopped, allow_children, stop_children


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_two_flows_never_share_a_gpu(tmp_path):
    """Each has GPUs while the other has: without the locks both would take the first two."""
    one, other = (Devices(tmp_path, {"gpus": 4, "gpus_per_run": 2, "slots": 3}) for _ in range(2))
    assert one.slots == {CPU: 3, GPU: 2}
    with one.hold("align/a") as first, other.hold("align/b") as second:
        ids = [set(held["CUDA_VISIBLE_DEVICES"].split(",")) for held in (first, second)]
        assert [len(held) for held in ids] == [2, 2]
        assert ids[0] | ids[1] == {"0", "1", "2", "3"}
    with other.hold("align/c") as third:
        assert third == first, "given back"


def test_gpus_that_are_taken_are_waited_for(tmp_path, monkeypatch):
    """Half of what a stage run needs is no use to it, and it does not keep that half from others."""
    events, let_go = queue.Queue(), threading.Event()

    def pause(seconds: float, run: str) -> None:
        events.put("waits")
        assert let_go.wait(60)

    monkeypatch.setattr(devices, "pause", pause)
    both, single = Devices(tmp_path, {"gpus": 2, "gpus_per_run": 2}), Devices(tmp_path, {"gpus": 2, "gpus_per_run": 1})

    def other():
        with both.hold("score/a"):
            events.put("begun")

    with single.hold("instruct/a"):
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        assert events.get(timeout=60) == "waits"
        with single.hold("instruct/b") as environment:
            assert environment == {"CUDA_VISIBLE_DEVICES": "1"}
    let_go.set()
    assert events.get(timeout=60) == "begun"
    thread.join(60)


def test_who_waits_for_gpus_stops_with_the_flow(tmp_path):
    devices = Devices(tmp_path, {"gpus": 1})
    with devices.hold("instruct/a"):
        stop_children()
        try:
            with pytest.raises(Stopped), devices.hold("instruct/b"):
                pass
        finally:
            allow_children()


def test_kinds(tmp_path, monkeypatch):
    without = Devices(tmp_path, {"slots": 2})
    assert without.kind("instruct/a") == CPU
    with without.hold("instruct/a") as environment:
        assert environment == {}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    some = Devices(tmp_path, {"gpus": 8, "gpus_per_run": 1})
    assert [some.kind(f"{stage}/a") for stage in ("data", "instruct", "pose", "annotate")] == [CPU, GPU, GPU, GPU]
    with some.hold("data/cc558k") as environment:
        assert environment == {"CUDA_VISIBLE_DEVICES": ""}
    with some.hold("align/a") as first, some.hold("align/b") as second:
        assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"5", "7"}
    with pytest.raises(InputError, match="gpus_per_run"):
        Devices(tmp_path, {"gpus": 2, "gpus_per_run": 4})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match="1 GPUs for a stage run, of 0 here"):
        Devices(tmp_path, {"gpus": 2})
