"""An S3 server over the buckets that a module of tests makes (`buckets`), and a wire to it that can be cut."""

import pytest

from tests.data_registry import s3_server


@pytest.fixture(scope="module")
def server(buckets):
    with s3_server.serve(buckets, signed=True) as address:
        yield address


@pytest.fixture
def wire(server, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_server.ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_server.SECRET)
    wire = s3_server.Wire(server)
    yield wire
    wire.close()
