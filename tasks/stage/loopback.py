"""Several processes of one training meet on this machine's loopback address alone.

torchrun's own rendezvous listens on every address of the machine whatever `--local-addr` says, and its store unpickles
what it is sent by the processes of a group. Several nodes are started by a launcher of the user's (docs/scales.md).
"""

import os
import socket
from typing import TYPE_CHECKING

from torch.distributed import PrefixStore, TCPStore
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

if TYPE_CHECKING:
    from torch.distributed import Store

ADDRESS = "127.0.0.1"
BACKEND = "loopback"  # `--rdzv-backend` of torchrun
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")  # where a process group listens
NAMES = ("lo", "lo0")  # of the loopback interface: Linux, macOS


class LoopbackRendezvous(RendezvousHandler):
    """A rendezvous of one node, whose store listens on loopback and serves the processes too."""

    def __init__(self, run_id: str) -> None:
        self._run_id, self._closed = run_id, False
        with socket.socket() as listener:
            listener.bind((ADDRESS, 0))
            listener.listen()
            port = listener.getsockname()[1]
            self._store: Store = TCPStore(
                ADDRESS, port, is_master=True, wait_for_workers=False, master_listen_fd=listener.detach()
            )
        self._where = RendezvousStoreInfo(ADDRESS, port)

    def get_backend(self) -> str:
        return BACKEND

    @property
    def use_agent_store(self) -> bool:
        return True

    def next_rendezvous(self) -> RendezvousInfo:
        return RendezvousInfo(PrefixStore(f"rendezvous {self._run_id}", self._store), 0, 1, self._where)

    def is_closed(self) -> bool:
        return self._closed

    def set_closed(self) -> None:
        self._closed = True

    def num_nodes_waiting(self) -> int:
        return 0

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        self._closed = True
        return True


def arguments(processes: int) -> list[str]:
    """What torchrun is given for so many processes on this machine; process groups will listen on loopback too."""

    def create(parameters: RendezvousParameters) -> RendezvousHandler:
        return LoopbackRendezvous(parameters.run_id)

    rendezvous_handler_registry.register(BACKEND, create)
    names = {name for _, name in socket.if_nameindex()}
    for variable in INTERFACES:
        os.environ.setdefault(variable, next(name for name in NAMES if name in names))
    where = ["--rdzv-backend", BACKEND, "--local-addr", ADDRESS]
    return [*where, "--nproc-per-node", str(processes), "--monitor-interval", "0.1"]
