"""Leases between machines: one that lapsed is nobody's until somebody takes it anew."""

import pytest
from sqlalchemy import create_engine, text

from flows.execution.lease import Lapsed, Leases


def test_a_lease_that_lapsed_is_not_confirmed_though_nobody_took_it(tmp_path):
    """Between the lapse and now another may have had it and given it back, with a result of its own."""
    address = f"sqlite:///{tmp_path / 'leases.db'}"
    with Leases(address, lease_s=600).hold("scenes/train") as lease:
        lease.confirm()
        with create_engine(address).begin() as database:
            database.execute(text("UPDATE leases SET until = 0"))
        with pytest.raises(Lapsed, match="the lease lapsed while it was computed"):
            lease.confirm()
