"""GPUs are handed out n at a time, distinct, also between flows; what needs none takes none."""

import threading

import pytest

from data_registry.errors import InputError
from flows.execution.devices import CPU, GPU, Devices
from flows.execution.stopping import Stopped, allow_children, stop_children


@pytest.fixture(autouse=True)
def no_choice(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_two_flows_never_share_a_gpu(tmp_path):
    flows = [Devices(tmp_path, {"gpus": 4, "gpus_per_run": 2, "slots": 3}) for _ in range(2)]
    assert flows[0].slots == {CPU: 3, GPU: 2}
    guard, in_use, clashes, served = threading.Lock(), set(), [], []

    def work(devices, name):
        with devices.hold(f"align/{name}") as environment:
            mine = environment["CUDA_VISIBLE_DEVICES"].split(",")
            with guard:
                clashes.extend(in_use & set(mine))
                in_use.update(mine)
                served.append(mine)
            with guard:
                in_use.difference_update(mine)

    threads = [threading.Thread(target=work, args=(flows[n % 2], n)) for n in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert len(served) == 12
    assert all(len(set(mine)) == 2 for mine in served)
    assert clashes == []


def test_gpus_that_are_taken_are_waited_for(tmp_path):
    devices = Devices(tmp_path, {"gpus": 2, "gpus_per_run": 2})
    begun = threading.Event()

    def other():
        with devices.hold("score/a"):
            begun.set()

    with devices.hold("instruct/a"):
        threading.Thread(target=other, daemon=True).start()
        assert not begun.wait(0.7)
    assert begun.wait(30)


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
