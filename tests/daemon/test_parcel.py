"""The parcel: everything arrives, nothing is lost from it, and nothing of it touches a disk."""

from __future__ import annotations

import os

import pytest

from supervisor.core.spec import Body, SegmentSpec, SupervisorSpec
from supervisor.daemon.parcel import Options, Parcel, add, seal, unseal


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


def test_a_sealed_parcel_cannot_be_cut(parcel):
    """What was launched stays readable for every later life of the daemon."""
    descriptor = seal(parcel)
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def test_a_changed_spec_is_put_behind_the_one_that_was_launched(parcel):
    """The store's number chooses; a generation that was never saved changes nothing."""
    changed = SupervisorSpec("p", (SegmentSpec("b"),))
    standing = SupervisorSpec("p", (*parcel.spec.children, SegmentSpec("b")))
    descriptor = seal(parcel)
    try:
        add(descriptor, parcel, changed, standing, 1)
        assert unseal(descriptor) == parcel
        later = unseal(descriptor, 1)
        assert (later.spec, later.standing, later.generation) == (changed, standing, 1)
        assert later.environment == parcel.environment
    finally:
        os.close(descriptor)


def test_a_half_written_generation_is_passed_over(parcel):
    """A daemon that was killed while it wrote leaves the parcel as useful as before."""
    descriptor = seal(parcel)
    try:
        os.pwrite(descriptor, b'9000\n{"launch": "l', os.fstat(descriptor).st_size)
        assert unseal(descriptor) == parcel
    finally:
        os.close(descriptor)


def test_a_parcel_shows_no_secret_when_it_is_printed(parcel):
    """A traceback or a log line with a parcel in it gives nothing away."""
    assert "s3cret" not in repr(parcel)
    assert "/bin" not in repr(parcel)
