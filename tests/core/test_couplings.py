"""Coming up, going down, `after`, escalation. docs/semantics.md, sections 5 to 7."""

from __future__ import annotations

import pytest
from stage import COMPLETED, CRASH, OOM, STOPPED, Stage

NESTED = """
p one_for_one
  g one_for_one
    a service
    h one_for_one
      b service
  c service
"""


# ---------------------------------------------------------------------------------------- coming up


def test_children_start_in_order_each_after_the_last() -> None:
    """The next has its turn when the one before is ready, through all levels (6.1)."""
    stage = Stage(NESTED)
    trace = list(stage.orders)
    for name in "abc":
        assert stage.started(name) == []
        trace += stage.ready(name)
    assert trace == ["start p/g/a#1", "start p/g/h/b#1", "start p/c#1"]
    assert [stage.phase(name) for name in ("g", "h", "p")] == ["up", "up", "up"]


def test_empty_supervisors_come_up_at_once() -> None:
    """A supervisor without children keeps nobody waiting (6.1)."""
    stage = Stage("p one_for_one\n  g one_for_one\n    h one_for_all\n  a service")
    assert stage.orders == ["start p/a#1"]
    assert stage.phase("h") == stage.phase("g") == "up"


def test_failing_start_does_not_block_the_next() -> None:
    """A child that backs off lets the next one pass (6.1, 6.3)."""
    stage = Stage("p one_for_one\n  a service backoff=1\n  b service")
    assert stage.exits("a", CRASH) == ["start p/b#1"]
    assert stage.phase("a") == "backing_off until 1"
    assert stage.phase("p") == "bringing_up at 1"


def test_child_that_is_stopped_while_it_starts_is_awaited() -> None:
    """The next one starts when nothing of the one before is left (6.1)."""
    stage = Stage("p one_for_one\n  a service\n  b service")
    assert stage.stop("a") == ["stop p/a#1"]
    assert stage.exits("a", STOPPED) == ["start p/b#1"]


def test_backoff_that_ends_while_siblings_come_up() -> None:
    """A child left of the cursor starts again without waiting for those right of it (4.6)."""
    stage = Stage("p one_for_one\n  a service backoff=1\n  b service\n  c service")
    stage.exits("a", CRASH)
    assert stage.tick(at=1) == ["start p/a#2 (attempt 2, after error(ValueError: no))"]
    assert stage.ready("b") == ["start p/c#1"]


@pytest.mark.parametrize("kind", ["task", "service"])
def test_after(kind: str) -> None:
    """A named task must complete, a named service must run; in that very step it starts (6.2)."""
    stage = Stage(f"p one_for_one\n  a {kind}\n  b after=p/a\n  c service")
    orders = stage.ready("a")
    if kind == "service":
        assert orders == ["start p/b#1"]
        return
    assert orders == ["start p/c#1"], "who waits blocks nobody"
    assert stage.phase("b") == "waiting"
    assert stage.exits("a", COMPLETED, at=9) == ["start p/b#1"]


def test_after_something_later() -> None:
    """`after` may name what stands later; it starts as soon as that is there (6.2)."""
    stage = Stage("p one_for_one\n  a after=p/b,p/c\n  b service\n  c service")
    assert stage.orders == ["start p/b#1"]
    stage.ready("b")
    assert stage.ready("c") == ["start p/a#1"]


def test_after_across_supervisors() -> None:
    """Data order knows no branches (6.2)."""
    stage = Stage("p one_for_one\n  g one_for_one\n    a\n  h one_for_one\n    b after=p/g/a")
    stage.ready("a")
    assert stage.phase("h") == "up"
    assert stage.exits("a", COMPLETED) == ["start p/h/b#1"]


def test_failed_dependency_keeps_waiting() -> None:
    """A task that failed has not completed; a person's second try may still (6.2)."""
    stage = Stage("p one_for_one\n  a temporary\n  b after=p/a")
    stage.ready("a")
    stage.exits("a", CRASH)
    assert stage.phase("b") == "waiting"
    stage.start("a")
    stage.ready("a")
    assert stage.exits("a", COMPLETED) == ["start p/b#1"]


def test_restarted_dependency_leaves_what_runs_alone() -> None:
    """`after` is asked at a start and never during a life (6.2)."""
    stage = Stage("p one_for_one\n  a service backoff=1\n  b service after=p/a").all_up()
    assert stage.exits("a", OOM, at=10) == []
    assert stage.phase("b") == "running"


def test_restart_waits_for_its_dependency_again() -> None:
    """A backoff that is over leads through waiting while the dependency is down (4.6)."""
    stage = Stage("p one_for_one\n  a service backoff=9\n  b service after=p/a backoff=1").all_up()
    stage.exits("a", OOM, at=10)
    stage.exits("b", OOM, at=10)
    assert stage.tick(at=11) == []
    assert stage.phase("b") == "waiting"
    stage.tick(at=19)
    assert stage.ready("a") == ["start p/b#2 (attempt 2, after oom)"]


def test_dependency_comes_while_the_waiting_ones_supervisor_is_down() -> None:
    """Whoever belongs to a supervisor that is down starts with it and not before (7.1)."""
    stage = Stage("p one_for_one\n  a\n  g one_for_one\n    b after=p/a")
    stage.ready("a")
    stage.stop("g")
    assert stage.phase("b") == "idle"
    assert stage.exits("a", COMPLETED) == []
    assert stage.start("g") == ["start p/g/b#1"]


def test_dependency_comes_while_the_waiting_ones_supervisor_goes_down() -> None:
    """Who waits to the left of a child that is being stopped is not started any more (7.1)."""
    stage = Stage("p one_for_one\n  x\n  g one_for_one\n    a after=p/x\n    b service")
    stage.ready("x", "b")
    assert stage.stop("g") == ["stop p/g/b#1"]
    assert stage.phase("a") == "waiting"
    assert stage.exits("x", COMPLETED) == []
    stage.exits("b", STOPPED)
    assert stage.phase("a") == "idle"


def test_waiting_child_before_a_group_may_start_meanwhile() -> None:
    """The children before a group go on with their lives while it is restarted (5.3)."""
    stage = Stage(
        "p one_for_one\n  x\n  g rest_for_one\n    a after=p/x\n    b service\n    c service"
    )
    stage.ready("x", "b", "c")
    stage.exits("b", OOM, at=10)
    assert stage.exits("x", COMPLETED, at=10) == ["start p/g/a#1"]


# ----------------------------------------------------------------------------------- group restarts


def test_group_is_stopped_in_reverse_and_started_in_order() -> None:
    """Right to left, each awaited; then left to right, each awaited (5.2, 5.3)."""
    stage = Stage(
        "p rest_for_one\n  c5 service\n  c3 service backoff=0\n  c1 service\n  c4 service"
    ).all_up()
    trace = stage.exits("c3", CRASH)
    trace += stage.exits("c4", STOPPED)
    trace += stage.exits("c1", STOPPED)
    for name in ("c3", "c1"):
        trace += stage.ready(name)
    assert [line.split(" (")[0] for line in trace] == [
        "stop p/c4#1",
        "stop p/c1#1",
        "start p/c3#2",
        "start p/c1#2",
        "start p/c4#2",
    ]


def test_supervisor_in_a_group_starts_afresh() -> None:
    """A supervisor that is restarted with its group forgets its window and rows (6.4)."""
    stage = Stage(
        "p one_for_all\n  a service backoff=0\n  g one_for_one max_restarts=2\n"
        "    b service backoff=0\n    c"
    ).all_up()
    stage.exits("b", CRASH, at=10)
    stage.ready("b")
    stage.exits("c", COMPLETED)
    assert stage.supervisor("g").restarts == (10.0,)
    stage.exits("a", CRASH, at=11)
    stage.exits("b", STOPPED, at=11)
    stage.all_up()
    assert stage.supervisor("g").restarts == ()
    assert stage.segment("b").streak == 0
    assert stage.latest("c") == 2


@pytest.mark.parametrize(
    ("restart", "phase"), [("transient", "up"), ("temporary", "supervisor_ended gave_up")]
)
def test_supervisor_that_gave_up_and_its_parents_group(restart: str, phase: str) -> None:
    """A group restart starts it again unless it is temporary; OTP does the same (5.6)."""
    stage = Stage(
        f"p one_for_all\n  a service backoff=0\n  g one_for_one {restart} max_restarts=0\n"
        "    b service"
    ).all_up()
    stage.exits("b", CRASH)
    assert stage.phase("g") == "supervisor_ended gave_up"
    stage.exits("a", CRASH)
    stage.all_up()
    assert stage.phase("g") == phase


def test_completed_temporary_child_does_not_run_again_with_its_group() -> None:
    """Temporary members that had ended stay so; transient ones that completed run again (5.6)."""
    stage = Stage("p one_for_all\n  a temporary\n  b\n  c service backoff=0").all_up()
    stage.exits("a", COMPLETED)
    stage.exits("b", COMPLETED)
    stage.exits("c", CRASH)
    stage.all_up()
    assert stage.phases() == {"a": "ended completed", "b": "running", "c": "running"}


def test_temporary_supervisor_is_dropped_with_its_group() -> None:
    """A living temporary supervisor is stopped and not started again (5.6)."""
    stage = Stage(
        "p one_for_all\n  a service backoff=0\n  g one_for_one temporary\n    b service"
    ).all_up()
    stage.exits("a", CRASH)
    stage.exits("b", STOPPED)
    stage.all_up()
    assert stage.phase("g") == "supervisor_ended dropped"
    assert stage.phases() == {"a": "running", "b": "idle"}


# --------------------------------------------------------------------------------------- going down


def test_down_goes_from_the_right_through_all_levels() -> None:
    """Reverse start order, one at a time (7.1, 7.6)."""
    stage = Stage(NESTED).all_up()
    trace = stage.drain()
    for name in "cba":
        trace += stage.exits(name, STOPPED)
    assert trace == ["stop p/c#1", "stop p/g/h/b#1", "stop p/g/a#1", "halt"]


def test_deaths_while_going_down_are_absorbed() -> None:
    """Who dies by itself meanwhile is not restarted, and its own reason is kept (7.1)."""
    stage = Stage("p one_for_one\n  a service backoff=0\n  b service\n  c service").all_up()
    stage.drain()
    assert stage.exits("a", OOM) == []
    assert str(stage.segment("a").last_exit) == "oom"
    assert stage.exits("c", STOPPED) == ["stop p/b#1"]
    assert stage.exits("b", STOPPED) == ["halt"]


def test_backoff_that_ends_while_going_down_starts_nothing() -> None:
    """What is scheduled is called off, at the latest when it would happen (7.1)."""
    stage = Stage("p one_for_one\n  a service backoff=1\n  b service grace=none").all_up()
    stage.exits("a", OOM, at=10)
    stage.drain(at=10.5)
    assert stage.tick(at=11) == []
    assert stage.phase("a") == "idle"
    assert stage.next() is None


def test_escalation_climbs_one_level_at_a_time() -> None:
    """Each level gives up in turn; the top one, under one_for_one, lets go (7.2-7.4)."""
    stage = Stage(
        "p one_for_one max_restarts=0\n  g one_for_one max_restarts=0\n"
        "    h one_for_one max_restarts=0\n      a service\n    b service\n  c service"
    ).all_up()
    stage.exits("a", CRASH)
    assert stage.phase("h") == "supervisor_ended gave_up"
    assert stage.orders == ["stop p/g/b#1"]
    stage.exits("b", STOPPED)
    assert stage.phase("g") == "supervisor_ended gave_up"
    assert stage.phase("c") == "running"
    assert stage.supervisor("p").failed


def test_permanent_supervisor_is_restarted_with_its_own_backoff() -> None:
    """Its parent waits as long as the supervisor's spec says, then all comes up afresh (7.3)."""
    stage = Stage(
        "p one_for_one\n  g one_for_one max_restarts=0 backoff=7\n    a service\n    b"
    ).all_up()
    stage.exits("b", COMPLETED, at=9)
    stage.exits("a", CRASH, at=10)
    assert stage.phase("g") == "supervisor_backing_off until 17"
    assert stage.tick(at=17) == ["start p/g/a#2 (after error(ValueError: no))"]
    assert stage.ready("a") == ["start p/g/b#2 (after completed)"]
    assert stage.supervisor("p").restarts == (10.0,)
    assert stage.supervisor("g").streak == 1


def test_supervisor_that_gives_up_under_a_group_strategy() -> None:
    """To its parent an exited supervisor is what an exited segment is: the group goes (7.3)."""
    stage = Stage(
        "p rest_for_one\n  a service\n  g one_for_one max_restarts=0 backoff=2\n    b service\n"
        "  c service"
    ).all_up()
    assert stage.exits("b", CRASH, at=10) == ["stop p/c#1"]
    stage.exits("c", STOPPED, at=11)
    assert stage.tick(at=12) == ["start p/g/b#2 (after error(ValueError: no))"]


def test_give_up_that_its_parent_overtakes() -> None:
    """Stopped by its parent while it gives up: what the parent says counts (7.5)."""
    stage = Stage(
        "p one_for_all max_restarts=9\n  a service backoff=0\n"
        "  g one_for_one max_restarts=0 backoff=50\n    b service\n    c service"
    ).all_up()
    stage.exits("c", CRASH)
    assert stage.phase("g") == "going_down (gave_up) at 0"
    stage.exits("a", CRASH)
    assert stage.phase("g") == "going_down (group) at 0"
    assert stage.exits("b", STOPPED) == ["start p/a#2 (attempt 2, after error(ValueError: no))"]
    assert stage.supervisor("p").restart_count == 1


def test_backoff_of_a_branch_is_called_off_with_the_tree() -> None:
    """A branch that waits to be started again is down at once when its supervisor goes (7.1)."""
    stage = Stage(
        "p one_for_one\n  a service\n  g one_for_one max_restarts=0 backoff=9\n    b service"
    ).all_up()
    stage.exits("b", at=1)
    assert stage.phase("g") == "supervisor_backing_off until 10"
    assert stage.drain(at=2) == ["stop p/a#1"]
    assert stage.phase("g") == "down"
    assert stage.next() == 12
    assert stage.exits("a", STOPPED, at=3) == ["halt"]
    assert stage.next() is None
