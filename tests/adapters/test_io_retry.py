"""Bounded patience: who is tried again, and for how long."""

import time

import pytest

from supervisor.adapters.io_retry import patiently


class Busy(Exception):
    pass


class Flaky:
    """Fails a number of times, then returns."""

    def __init__(self, failures):
        self.failures = list(failures)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


def is_busy(error):
    return isinstance(error, Busy)


def test_what_passes_by_itself_is_tried_again():
    """An expected error is followed by another try, until one succeeds."""
    operation = Flaky([Busy(), Busy(), Busy()])
    assert patiently(operation, when=is_busy, patience_s=60.0) == "done"
    assert operation.calls == 4


def test_success_is_not_repeated():
    """One success is enough."""
    operation = Flaky([])
    assert patiently(operation, when=is_busy, patience_s=60.0) == "done"
    assert operation.calls == 1


@pytest.mark.parametrize("before", [0, 2])
def test_other_errors_are_raised_at_once(before):
    """An error that does not pass by itself is raised as it is, on any try."""
    wrong = KeyError("wrong")
    operation = Flaky([*(Busy() for _ in range(before)), wrong, Busy()])
    with pytest.raises(KeyError) as caught:
        patiently(operation, when=is_busy, patience_s=60.0)
    assert caught.value is wrong
    assert operation.calls == before + 1


def test_patience_ends_with_the_last_error():
    """After the given time the last error is raised, and not one of the retrying itself."""
    calls = []

    def always_busy():
        calls.append(time.monotonic())
        raise Busy(f"try {len(calls)}")

    with pytest.raises(Busy) as caught:
        patiently(always_busy, when=is_busy, patience_s=0.05)
    assert str(caught.value) == f"try {len(calls)}"
    assert len(calls) >= 2
