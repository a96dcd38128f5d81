"""A Postgres of the tests' own, where the machine has its programs: started for the tests, gone with them."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flows.servers.local import HOST, free_port

PASSWORD = "secret"


def programs() -> Path | None:
    """The folder with Postgres' programs, if it is installed; Debian keeps them off the path."""
    config = shutil.which("pg_config")
    if config is None:
        return None
    folder = Path(subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    return folder if (folder / "initdb").exists() else None


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The SQLAlchemy address of a fresh server on localhost; `folder` has its programs."""
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        if user:
            shutil.chown(home, user)
        (home / "password").write_text(PASSWORD)
        (home / "password").chmod(0o644)
        made = [folder / "initdb", "-D", home / "data", "-U", "tests", "--auth", "scram-sha-256"]
        subprocess.run(
            [*made, "--pwfile", home / "password", "--no-sync"], user=user, cwd=home, check=True, capture_output=True
        )
        port = free_port()
        words = [folder / "pg_ctl", "-D", home / "data", "-w", "-l", home / "log"]
        options = f"-p {port} -c listen_addresses={HOST} -c unix_socket_directories= -c fsync=off"
        subprocess.run([*words, "-o", options, "start"], user=user, cwd=home, check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql+psycopg2://tests:{PASSWORD}@{HOST}:{port}/postgres"
        finally:
            stop = [*words, "-m", "immediate", "stop"]
            subprocess.run(stop, user=user, cwd=home, check=True, stdout=subprocess.DEVNULL)
