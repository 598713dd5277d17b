"""Which measurements go first."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.runtime import retention
from supervisor.runtime.retention import Retention, surplus

MEMORY = st.lists(st.one_of(st.none(), st.integers(0, 10**12)), max_size=200)


def test_the_examples_hold():
    """What the docstrings show is what happens."""
    assert doctest.testmod(retention).failed == 0


@given(MEMORY, st.integers(2, 50))
def test_what_stays_is_bounded_recent_and_has_the_peak(memory_bytes, keep):
    """At most `keep` stay, the newest half among them untouched, and the highest of all."""
    going = set(surplus(memory_bytes, keep))
    staying = [at for at in range(len(memory_bytes)) if at not in going]
    assert len(staying) <= keep
    if len(memory_bytes) > keep:
        newest = keep // 2
        assert staying[-newest:] == list(range(len(memory_bytes)))[-newest:]
        # Thinning stops as soon as it fits: no more is lost than one halving costs.
        assert len(staying) > newest
    else:
        assert going == set()
    peak = max((value or 0 for value in memory_bytes), default=0)
    assert max((memory_bytes[at] or 0 for at in staying), default=0) == peak


@pytest.mark.parametrize("bounds", [{"lives_per_segment": 0}, {"samples_per_life": 1}])
def test_bounds_that_would_forget_the_present_are_refused(bounds):
    """The newest life carries the numbering; it cannot be configured away."""
    with pytest.raises(ValueError, match="always kept"):
        Retention(**bounds)
