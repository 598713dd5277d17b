"""The restart decision: limits, budgets, groups, give-up. docs/semantics.md, sections 3 to 5."""

from __future__ import annotations

import pytest
from stage import COMPLETED, CRASH, OOM, STOPPED, Stage

from supervisor.core import boot, step
from supervisor.core.backoff import delay_s
from supervisor.core.events import Exited
from supervisor.core.spec import Backoff, SegmentSpec, SupervisorSpec
from supervisor.core.state import BackingOff


def crash_loop(stage: Stage, name: str, times: int, at: float = 10.0, gap_s: float = 0.0) -> None:
    """That many deaths of one child, each ready again at once."""
    for number in range(times):
        stage.exits(name, at=at + number * gap_s)
        if stage.phase(name).startswith("backing_off"):
            stage.tick(at=stage.next())
        if stage.phase(name).startswith("starting"):
            stage.ready(name)


@pytest.mark.parametrize("max_restarts", [0, 1, 2, 5])
def test_deaths_it_takes(max_restarts: int) -> None:
    """A supervisor that tolerates I restarts gives up at death I+1 (4.1)."""
    stage = Stage(
        f"p one_for_one\n  g one_for_one temporary max_restarts={max_restarts}\n"
        "    a service backoff=0\n    b service"
    ).all_up()
    crash_loop(stage, "a", max_restarts)
    assert stage.phase("g").startswith("up")
    stage.exits("a")
    assert stage.phase("g") == "going_down (gave_up) at 1"
    assert stage.orders == ["stop p/g/b#1"]


def test_window_slides() -> None:
    """Deaths further apart than the window, with healthy runs between, go on for ever (4.1)."""
    stage = Stage(
        "p one_for_one max_restarts=1 max_seconds=5\n  a service backoff=0 reset_after=5"
    ).all_up()
    crash_loop(stage, "a", times=20, gap_s=5.5)
    assert stage.phase("a") == "running"
    assert stage.supervisor("p").restarts == (10.0 + 19 * 5.5,)


def test_slow_crash_loop_does_not_escape_the_limit() -> None:
    """Attempts longer apart than the window are still attempts in a row (4.2)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one temporary max_restarts=2 max_seconds=5\n"
        "    a service backoff=0 reset_after=60"
    ).all_up()
    crash_loop(stage, "a", times=2, gap_s=30.0)
    assert len(stage.supervisor("g").restarts) == 1
    stage.exits("a", at=80.0)
    assert stage.phase("g") == "supervisor_ended gave_up"
    assert any("2 restarts in a row" in line for line in stage.said)


def test_children_share_the_window() -> None:
    """Two children that die once each are two restarts of their supervisor (4.1)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one temporary max_restarts=1\n"
        "    a service backoff=0\n    b service backoff=0"
    ).all_up()
    stage.exits("a", at=10)
    stage.exits("b", at=11)
    assert stage.phase("g").startswith("going_down (gave_up)")


def test_own_budget_is_the_segments_own() -> None:
    """Over its budget the segment rests alone, and its supervisor is not charged (3.5)."""
    stage = Stage("p one_for_all max_restarts=1\n  a service budget=0\n  b service").all_up()
    stage.exits("a", OOM, at=10)
    assert stage.orders == []
    assert stage.phases() == {"a": "ended gave_up", "b": "running"}
    assert stage.supervisor("p").restarts == ()
    assert stage.supervisor("p").restart_count == 0
    assert "its own budget of 0 restarts is used up" in stage.said[0]


def test_budget_ages() -> None:
    """Restarts older than the budget's window are forgotten (3.5)."""
    stage = Stage("p one_for_one max_restarts=99\n  a service budget=1/10 backoff=0").all_up()
    crash_loop(stage, "a", times=5, gap_s=11.0)
    assert stage.phase("a") == "running"
    crash_loop(stage, "a", times=1, at=54 + 9.0)
    assert stage.phase("a") == "ended gave_up"


def test_restart_is_charged_once() -> None:
    """A group restart is one restart, of the one that died (3.6)."""
    stage = Stage("p one_for_all\n  a service\n  b service\n  c service").all_up()
    stage.exits("b", at=10)
    assert stage.supervisor("p").restarts == (10.0,)
    assert stage.supervisor("p").restart_count == 1
    assert [stage.segment(name).restart_count for name in "abc"] == [0, 1, 0]


def test_backoff_grows_with_the_row() -> None:
    """Each restart in a row waits longer (4.5)."""
    stage = Stage("p one_for_one max_restarts=9\n  a service backoff=1*2<=60").all_up()
    waits = []
    for _ in range(4):
        stage.exits("a", at=stage.now_s)
        until_s = stage.next()
        assert until_s is not None
        waits.append(until_s - stage.now_s)
        stage.tick(at=until_s)
        stage.ready("a")
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_group_is_held_off_as_a_whole() -> None:
    """Nobody of the group starts before the delay is over, however fast all were gone (5.3)."""
    stage = Stage("p one_for_all\n  a service\n  b service backoff=5").all_up()
    stage.exits("b", at=10)
    assert stage.exits("a", STOPPED, at=10.1) == []
    assert stage.tick(at=14.9) == []
    assert stage.next() == 15
    assert stage.tick(at=15) == ["start p/a#2 (after stopped)"]


def test_hold_off_passes_while_the_group_is_stopped() -> None:
    """A stop that takes longer than the delay is followed by the start at once (5.3)."""
    stage = Stage("p rest_for_one\n  a service backoff=1\n  b service").all_up()
    stage.exits("a", at=10)
    assert stage.next() == 20.0, "only the kill of b is a deadline now"
    assert stage.exits("b", STOPPED, at=15) == [
        "start p/a#2 (attempt 2, after error(ValueError: no))"
    ]


def test_longer_second_hold_counts() -> None:
    """A death before the group widens it, is counted, and its longer delay holds for all (5.4)."""
    stage = Stage(
        "p rest_for_one\n  a service backoff=9\n  b service backoff=2\n  c service"
    ).all_up()
    stage.exits("b", at=10)
    stage.exits("a", at=10)
    stage.exits("c", STOPPED, at=10)
    assert stage.supervisor("p").restart_count == 2
    assert stage.next() == 19


def test_member_that_dies_meanwhile_is_absorbed() -> None:
    """A member that dies by itself while its group is stopped costs nothing (3.4, 5.4)."""
    stage = Stage(
        "p rest_for_one\n  a service backoff=2\n  b service backoff=9\n  c service"
    ).all_up()
    stage.exits("a", at=10)
    stage.exits("b", OOM, at=10)
    assert stage.supervisor("p").restart_count == 1
    assert stage.segment("b").streak == 0
    assert str(stage.segment("b").last_exit) == "oom"
    stage.exits("c", STOPPED, at=10)
    assert stage.next() == 12


def test_shorter_second_hold_does_not_shorten_the_first() -> None:
    """The delay that is longer holds also when it came first (5.4)."""
    stage = Stage(
        "p rest_for_one\n  a service backoff=1\n  b service backoff=9\n  c service"
    ).all_up()
    stage.exits("b", at=10)
    stage.exits("a", at=11)
    stage.exits("c", STOPPED, at=12)
    assert stage.tick(at=12.5) == []
    assert stage.next() == 19


def test_member_that_fails_while_coming_up() -> None:
    """rest_for_one goes on from the one that failed; those before it stay (5.5)."""
    stage = Stage(
        "p rest_for_one\n  a service backoff=0\n  b service backoff=0\n  c service"
    ).all_up()
    stage.exits("a", at=10)
    stage.exits("c", STOPPED)
    stage.exits("b", STOPPED)
    stage.ready("a")
    assert stage.exits("b", CRASH) == ["start p/b#3 (attempt 2, after error(ValueError: no))"]
    assert stage.phase("a") == "running"
    assert stage.latest("a") == 2


def test_healthy_supervisor_starts_a_new_row() -> None:
    """A supervisor that was quiet for long enough waits its first delay again (4.4)."""
    text = (
        "p one_for_one max_restarts=99\n"
        "  g one_for_one max_restarts=0 backoff=1*2<=60 reset_after=60\n    a service"
    )
    stage = Stage(text).all_up()
    for at, streak in ((10, 1), (20, 2), (30, 3), (200, 1)):
        stage.exits("a", at=at)
        assert stage.supervisor("g").streak == streak
        stage.tick(at=stage.next())
        stage.ready("a")


def test_supervisor_with_a_dying_child_is_not_healthy() -> None:
    """Up for long, but with restarts below it all the time: the row goes on (4.4)."""
    stage = Stage(
        "p one_for_one max_restarts=99\n"
        "  g one_for_one max_restarts=3 max_seconds=300 backoff=1 reset_after=60\n"
        "    a service backoff=0 reset_after=30"
    ).all_up()
    for row in (1, 2):
        start = stage.now_s + 1
        for number in range(4):
            stage.exits("a", at=start + number * 40.0)
            if number < 3:
                stage.ready("a")
        assert stage.supervisor("g").streak == row
        stage.tick(at=stage.next())
        stage.ready("a")


def test_root_lets_go_and_clears_its_window() -> None:
    """What the offender used up is not held against the others (7.4)."""
    stage = Stage(
        "p one_for_one max_restarts=1\n  a service backoff=0\n  b service backoff=0"
    ).all_up()
    crash_loop(stage, "a", 2)
    assert stage.supervisor("p").failed
    assert stage.phase("p") == "up"
    assert stage.supervisor("p").restarts == ()
    assert stage.exits("b", at=11) == ["start p/b#2 (attempt 2, after error(ValueError: no))"]


def test_rest_is_told_to_the_backend() -> None:
    """Whoever rests gives back its cell, by whatever way it came there (2.7)."""
    stage = Stage(
        "p one_for_one max_restarts=0\n  a\n  b temporary\n  c service never_on=78\n  d service"
    ).all_up()
    stage.exits("a", COMPLETED)
    assert "release p/a#1" in stage.said
    stage.exits("b", CRASH)
    assert "release p/b#1" in stage.said
    stage.exits("d", CRASH)
    assert "release p/d#1" in stage.said


def test_group_restart_releases_nothing() -> None:
    """Between stop and start of a group the cells stay (2.7)."""
    stage = Stage("p one_for_all\n  a service\n  b service").all_up()
    said = []
    stage.exits("a", at=10)
    said += stage.said
    stage.exits("b", STOPPED, at=11)
    said += stage.said
    assert not [line for line in said if line.startswith("release")]


def test_bulkhead_that_gave_up_releases_all_below() -> None:
    """A supervisor that stays down gives back the cells of everything in it (2.7, 7.3)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one temporary max_restarts=0\n    h one_for_one\n"
        "      a service\n    b service"
    ).all_up()
    stage.exits("b", at=10)
    stage.exits("a", STOPPED, at=11)
    assert "release p/g/h/a#1" in stage.said


def test_supervisor_that_comes_back_keeps_its_cells() -> None:
    """A permanent supervisor that gave up will start them again soon (2.7)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one max_restarts=0 backoff=1\n    a service\n    b service"
    ).all_up()
    stage.exits("b", at=10)
    stage.exits("a", STOPPED, at=11)
    assert "release p/g/a#1" not in stage.said


BRANCH = (
    "p one_for_one max_restarts=99\n"
    "  g one_for_one max_restarts={limit} backoff=0 reset_after=60\n"
    "    a service backoff=0 reset_after=0.001"
)


@pytest.mark.parametrize(("quiet_s", "streak"), [(59.9, 2), (60.0, 1)])
def test_supervisor_that_was_quiet_ends_its_own_row(quiet_s: float, streak: int) -> None:
    """Exactly `reset_after_s` of quiet is enough (4.4)."""
    stage = Stage(BRANCH.format(limit=0)).all_up()
    stage.exits("a", CRASH, at=1)
    stage.ready("a", at=1)
    assert stage.supervisor("g").streak == 1
    stage.exits("a", CRASH, at=1 + quiet_s)
    assert stage.supervisor("g").streak == streak


def test_supervisor_is_not_quiet_while_a_child_restarts() -> None:
    """Up for long, but its child died ten seconds ago: the row goes on (4.4)."""
    stage = Stage(BRANCH.format(limit=1)).all_up()
    for _ in range(2):
        stage.exits("a", CRASH, at=1)
        stage.ready("a", at=1)
    assert stage.supervisor("g").streak == 1
    stage.exits("a", CRASH, at=60)
    stage.ready("a", at=60)
    stage.exits("a", CRASH, at=70)
    assert stage.supervisor("g").streak == 2


def test_supervisor_that_never_came_up_was_not_quiet() -> None:
    """Its child dies in its start: however long that took, the row goes on (4.4)."""
    stage = Stage(BRANCH.format(limit=0)).all_up()
    stage.exits("a", CRASH, at=1)
    stage.exits("a", CRASH, at=500)
    assert stage.supervisor("g").streak == 2


def test_jitter_is_that_of_this_life() -> None:
    """The delay is spread by path and incarnation, so that no two lives wait equally long (1.5)."""
    backoff = Backoff(1.0, 2.0, 60.0, jitter=0.5)
    children = tuple(SegmentSpec(name, backoff=backoff) for name in "ab")
    tree = boot(SupervisorSpec("p", children), 0.0, {"p/b": 6}).tree
    step(tree, Exited("p/a", 1, OOM), 5.0)
    step(tree, Exited("p/b", 7, OOM), 5.0)
    for path, life in (("p/a", 1), ("p/b", 7)):
        assert tree.states[path].phase == BackingOff(5.0, 5.0 + delay_s(backoff, 1, path, life))
