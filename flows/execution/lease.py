"""Leases: of several machines one computes a stage run, by a row in a database that all reach (SPATIALLLM_LEASES).
On one machine the operating system's lock does (tasks/stage/claim.py); it does not reach another.

A database, because the remote cannot decide it: not every S3 has conditional writes. Leases count by the database's own
clock, so that the machines' clocks need not agree. Each has a token that rises with every holder: who was frozen past
its lease finds another token there, and neither commits nor pushes.
Not DVC's, Prefect's or a library's: DVC has no lock between machines, and Prefect's concurrency limits keep a slot of a
killed process for minutes and know nothing of what a stage run is.
"""

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_registry.errors import InputError
from flows.execution.stopping import pause
from tasks.identity.addresses import masked
from tasks.stage import locks

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from flows.store.dvc_store import Store

VARIABLE = "SPATIALLLM_LEASES"
LEASE_S = 60.0
_POLL_S = 2.0


class Lapsed(RuntimeError):
    """This process lost its lease (frozen, or the database was out of reach); another may have computed meanwhile."""


class Taken(RuntimeError):
    """Another process has the lease."""


class Leases:
    """The table of leases.

    Args:
        url: SQLAlchemy address, e.g. postgresql+psycopg2://...; machines must reach the same one.
        lease_s: how long a lease lasts without a heartbeat; a third of it lies between heartbeats.
        warn: takes a line about whom a stage run waits for.
    """

    def __init__(
        self,
        url: str,
        lease_s: float = LEASE_S,
        poll_s: float = _POLL_S,
        warn: Callable[[str], object] = locks.say,
    ) -> None:
        from sqlalchemy import Column, Float, Integer, MetaData, String, Table, create_engine

        self.lease_s, self.poll_s, self._warn = lease_s, poll_s, warn
        self._engine: Engine = create_engine(url, pool_pre_ping=True)
        self._table = Table(
            "leases",
            MetaData(),
            Column("run", String(255), primary_key=True),
            Column("owner", String(255), nullable=False),
            Column("token", Integer, nullable=False),
            Column("until", Float, nullable=False),
        )
        self._table.metadata.create_all(self._engine)

    @contextlib.contextmanager
    def hold(self, run: str, wait: bool = True) -> Iterator["Lease"]:
        """Wait for the lease of a stage run, keep it alive by heartbeats, and give it back.

        Raises:
            Taken: another has it, unless `wait`.
            Lapsed: the database does not answer.
            Stopped: this flow is being stopped.
        """
        with _out_of_reach(run):
            waiting = locks.Waiting(f"compute {run}", self._warn)
            while (token := self._acquire(run)) is None:
                if not wait:
                    raise Taken(run)
                waiting.goes_on(Path(VARIABLE), lambda: self._holder(run))
                pause(self.poll_s, run)
        lease = Lease(self, run, token)
        try:
            yield lease
        finally:
            lease.release()

    def _acquire(self, run: str) -> int | None:
        """A token, or None while somebody else has the lease."""
        from sqlalchemy import insert, select, update
        from sqlalchemy.exc import IntegrityError

        t = self._table
        owner = f"{socket.gethostname()}:{os.getpid()}:{threading.get_ident()}"
        try:
            with self._engine.begin() as db:
                now = self._now(db)
                row = db.execute(select(t.c.token, t.c.until).where(t.c.run == run)).first()
                if row is None:
                    db.execute(insert(t).values(run=run, owner=owner, token=1, until=now + self.lease_s))
                    return 1
                taken = (
                    update(t)
                    .where(t.c.run == run, t.c.token == row.token, t.c.until < now)
                    .values(owner=owner, token=row.token + 1, until=now + self.lease_s)
                )
                return row.token + 1 if db.execute(taken).rowcount == 1 else None
        except IntegrityError:  # another was first to insert it
            return None

    def _holder(self, run: str) -> dict[str, Any]:
        from sqlalchemy import select

        with self._engine.begin() as db:
            holder = db.execute(select(self._table.c.owner).where(self._table.c.run == run)).scalar()
        host, pid, _ = holder.rsplit(":", 2) if holder else ("", "", "")
        return {"pid": int(pid), "host": host} if pid else {}

    def _renew(self, run: str, token: int, seconds: float) -> bool:
        """Move the end of a lease; False if it has another holder, or lapsed before it was renewed."""
        from sqlalchemy import update

        t = self._table
        with self._engine.begin() as db:
            now = self._now(db)
            mine = update(t).where(t.c.run == run, t.c.token == token, t.c.until >= now).values(until=now + seconds)
            return db.execute(mine).rowcount == 1

    @staticmethod
    def _now(db: "Connection") -> float:
        from sqlalchemy import text

        if db.dialect.name == "sqlite":
            return float(db.execute(text("SELECT (julianday('now') - 2440587.5) * 86400.0")).scalar_one())
        return float(db.execute(text("SELECT EXTRACT(EPOCH FROM clock_timestamp())")).scalar_one())


class Lease:
    """A lease that is held."""

    def __init__(self, leases: Leases, run: str, token: int) -> None:
        self._leases, self._run, self.token = leases, run, token
        self._over = threading.Event()
        threading.Thread(target=self._beat, name=f"lease of {run}", daemon=True).start()

    def confirm(self) -> None:
        """Make sure that it is still ours, before something is published.

        Raises:
            Lapsed: it is not, or the database does not answer.
        """
        with _out_of_reach(self._run):
            ours = self._leases._renew(self._run, self.token, self._leases.lease_s)
        if not ours:
            raise Lapsed(f"{self._run}: the lease lapsed while it was computed; what another made of it counts")

    def release(self) -> None:
        """Give it back; one that lapsed is another's already, and without the database it lapses by itself."""
        self._over.set()
        with contextlib.suppress(Lapsed), _out_of_reach(self._run):
            self._leases._renew(self._run, self.token, -1.0)

    def _beat(self) -> None:
        while not self._over.wait(self._leases.lease_s / 3):
            with contextlib.suppress(Lapsed), _out_of_reach(self._run):  # out of reach for now; `confirm` decides
                if not self._leases._renew(self._run, self.token, self._leases.lease_s):
                    return  # `confirm` will say so


@contextlib.contextmanager
def _out_of_reach(run: str) -> Iterator[None]:
    """A database that does not answer, in words; the flow tries the stage run again."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise Lapsed(f"{run}: {VARIABLE}: the database of leases does not answer: {masked(error)}") from error


@contextlib.contextmanager
def lease_of(leases: Leases | None, store: "Store", run: str) -> Iterator[Lease | None]:
    """The lease of a stage run as its inputs and parameters are now; None where machines share no database."""
    if leases is None:
        yield None
    else:
        with leases.hold(store.identity(run)) as lease:
            yield lease


def shared_leases(warn: Callable[[str], object] = locks.say) -> Leases | None:
    """The leases that SPATIALLLM_LEASES names, if any; `warn` as for `Leases`.

    Raises:
        InputError: there is no such database, or it does not answer.
    """
    url = os.environ.get(VARIABLE)
    if not url:
        return None
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return Leases(url, warn=warn)
    except (SQLAlchemyError, ImportError, ValueError) as error:  # ValueError: a port that is no number
        raise InputError(f"{VARIABLE}: the database of leases does not answer: {masked(error)}") from error
