"""The parcel: everything arrives, nobody can change it, and nothing of it touches a disk."""

from __future__ import annotations

import os

import pytest

from supervisor.core.spec import Body, SegmentSpec, SupervisorSpec
from supervisor.daemon.parcel import Options, Parcel, seal, unseal


@pytest.fixture
def parcel() -> Parcel:
    body = Body(command=("true",), env={"TOKEN": "s3cret"}, ports={"http": 0})
    inner = SupervisorSpec("inner", (SegmentSpec("a", body=body),))
    return Parcel(
        launch="l1",
        home="/h",
        file="/p/pipeline.yaml",
        spec=SupervisorSpec("p", (inner,)),
        environment={"PATH": "/bin", "NOT_UTF8": os.fsdecode(b"\xff")},
        launched_by="ann@host",
        options=Options(address="ray://x", strict_quotas=True, foreground=True),
    )


def test_a_parcel_arrives_as_it_was_sealed_for_every_reader(parcel):
    """Secrets, odd bytes and options survive; a second daemon reads the same as the first."""
    descriptor = seal(parcel)
    try:
        assert unseal(descriptor) == parcel
        assert unseal(descriptor) == parcel
    finally:
        os.close(descriptor)


def test_a_sealed_parcel_cannot_be_written_or_cut(parcel):
    """Whoever holds the descriptor can read it, and no more."""
    descriptor = seal(parcel)
    try:
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def test_a_parcel_shows_no_secret_when_it_is_printed(parcel):
    """A traceback or a log line with a parcel in it gives nothing away."""
    assert "s3cret" not in repr(parcel)
    assert "/bin" not in repr(parcel)
