"""Delays: growth, cap, jitter without chance."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given

from supervisor.core.backoff import delay_s, spread
from supervisor.core.spec import Backoff


def test_grows_up_to_its_cap() -> None:
    """`first * factor^(n-1)`, never more than the cap (4.5)."""
    backoff = Backoff(first_s=0.5, factor=3.0, max_s=10.0, jitter=0.0)
    delays = [delay_s(backoff, streak, "p/a", 1) for streak in (1, 2, 3, 4, 5)]
    assert delays == [0.5, 1.5, 4.5, 10.0, 10.0]


def test_no_delay() -> None:
    """A first delay of 0 stays 0, whatever the jitter (4.5)."""
    assert delay_s(Backoff(first_s=0.0, max_s=0.0, jitter=0.5), 9, "p/a", 9) == 0


def test_very_long_row() -> None:
    """A row that would overflow a float waits as long as the cap."""
    backoff = Backoff(first_s=1.0, factor=10.0, max_s=60.0, jitter=0.0)
    assert delay_s(backoff, 100_000, "p/a", 1) == 60.0


@given(
    streak=st.integers(1, 50),
    incarnation=st.integers(1, 10**9),
    jitter=st.floats(0, 1),
    path=st.from_regex(r"p(/[a-z]{1,8}){1,4}", fullmatch=True),
)
def test_jitter_stays_inside_its_share(
    streak: int, incarnation: int, jitter: float, path: str
) -> None:
    """The delay lies within the share on both sides, and is the same on every call (1.5, 4.5)."""
    backoff = Backoff(first_s=1.0, factor=2.0, max_s=60.0, jitter=jitter)
    plain = min(60.0, 2.0 ** (streak - 1))
    delay = delay_s(backoff, streak, path, incarnation)
    assert plain * (1 - jitter) - 1e-9 <= delay <= plain * (1 + jitter) + 1e-9
    assert delay == delay_s(backoff, streak, path, incarnation)


def test_lives_are_spread_over_the_whole_share() -> None:
    """A thousand segments that die together do not come back together."""
    places = sorted(spread(f"p/s{number}", 1) for number in range(1000))
    assert places[0] < 0.01
    assert places[-1] > 0.99
    assert max(b - a for a, b in itertools.pairwise(places)) < 0.02


def test_jitter_uses_both_sides() -> None:
    """The spread is even around the plain delay, not only above or below it."""
    backoff = Backoff(first_s=10.0, jitter=0.2)
    delays = [delay_s(backoff, 1, "p/a", number) for number in range(1, 400)]
    assert min(delays) == pytest.approx(8.0, abs=0.1)
    assert max(delays) == pytest.approx(12.0, abs=0.1)


@pytest.mark.parametrize(
    ("streak", "path", "seconds"), [(1, "p/a", 0.9490106868801259), (3, "p/b", 3.780180119631239)]
)
def test_jitter_is_the_same_for_ever(streak: int, path: str, seconds: float) -> None:
    """An old journal replayed by a newer version waits exactly as long as it did (1.5)."""
    assert delay_s(Backoff(1.0, 2.0, 60.0, 0.2), streak, path, 1) == seconds


def test_jitter_may_be_the_whole_delay() -> None:
    """A share of 1 spreads from nothing to the double; a delay of one second is spread, too."""
    backoff = Backoff(first_s=1.0, jitter=1.0)
    assert delay_s(backoff, 1, "p/a", 1) == pytest.approx(2.0 * spread("p/a", 1))
