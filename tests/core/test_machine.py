"""The core from outside: boot, restore, step, outstanding, rollback (docs/semantics.md, 1)."""

from __future__ import annotations

import json

import pytest
from stage import CRASH, OOM, STOPPED, Stage, spec_of

from supervisor.core import boot, next_deadline, outstanding, restore, rollback, step
from supervisor.core.actions import Answer, Report, ReportCode, Start
from supervisor.core.codec import encode_state
from supervisor.core.describe import describe_action
from supervisor.core.events import (
    DrainRequested,
    Event,
    Exited,
    Ready,
    Started,
    StopRequested,
    Tick,
    Unresponsive,
)
from supervisor.core.state import Running, SegmentState, Starting
from supervisor.core.transitions import Move
from supervisor.core.tree import Segment
from supervisor.errors import IllegalEvent, SpecError

TREE = """
p one_for_one
  g one_for_one
    a service
  b service backoff=5
"""


def test_boot_starts_the_first_and_changes_all() -> None:
    """The first snapshot holds every node; only the first segment is started (6.5)."""
    first = boot(spec_of(TREE), 7.0)
    assert [describe_action(action) for action in first.actions] == ["start p/g/a#1"]
    assert set(first.changed) == {"p", "p/g", "p/g/a", "p/b"}
    assert first.tree.states["p/g/a"] == SegmentState(Starting(7.0, 67.0), incarnation=1)


def test_incarnations_go_on_over_launches() -> None:
    """A number that was used in an earlier launch is never used again (1.2)."""
    earlier = {"p/g/a": 41, "p/b": 3, "p/not_any_more": 9}
    first = boot(spec_of(TREE), 0.0, earlier)
    assert first.actions == (Start("p/g/a", 42),)
    then = step(first.tree, Ready("p/g/a", 42), 1.0)
    assert then.actions == (Start("p/b", 4),)


# --------------------------------------------------------------------------------- news about lives


@pytest.mark.parametrize(
    "event",
    [
        Started("p/b", 1, pid=7),
        Ready("p/b", 1),
        Exited("p/b", 1, CRASH),
        Unresponsive("p/b", 1),
    ],
    ids=lambda event: type(event).__name__,
)
@pytest.mark.parametrize("phase", ["running", "backing off", "starting"])
def test_news_about_an_old_life_change_nothing(event: Event, phase: str) -> None:
    """Whatever the present life does, news about an earlier one are counted and dropped (1.3)."""
    stage = Stage(TREE).all_up()
    stage.exits("b", OOM, at=10)
    stage.tick(at=15)
    if phase == "running":
        stage.ready("b")
    if phase == "backing off":
        stage.exits("b", OOM, at=16)
    before = stage.segment("b")
    assert stage.tell(event) == []
    (report,) = stage.last.actions
    assert isinstance(report, Report)
    assert report.code is ReportCode.STALE_EVENT
    assert "incarnation 1" in report.text
    assert stage.last.changed == ()
    assert stage.segment("b") is before


@pytest.mark.parametrize(
    "event",
    [Ready("p/b", 2), Exited("p/g", 1, CRASH), Ready("p/nobody", 1)],
    ids=["a life to come", "a supervisor", "nobody"],
)
def test_news_that_cannot_be(event: Event) -> None:
    """Raised where tests run, reported where people run, and nothing is changed (1.4)."""
    with pytest.raises(IllegalEvent):
        Stage(TREE).all_up().tell(event)
    stage = Stage(TREE, strict=False).all_up()
    stage.tell(event)
    (report,) = stage.last.actions
    assert isinstance(report, Report)
    assert report.code is ReportCode.ILLEGAL_EVENT
    assert stage.last.changed == ()


@pytest.mark.parametrize("strict", [True, False])
def test_bug_of_ours_leaves_the_tree_as_it_was(
    monkeypatch: pytest.MonkeyPatch, *, strict: bool
) -> None:
    """A rule that fails halfway is undone; a waiting person is told (1.4)."""
    stage = Stage(TREE, strict=strict).all_up()
    before = {path: encode_state(state) for path, state in stage.tree.states.items()}

    def broken(segment: Segment, event: object, now_s: float) -> Move:
        raise IllegalEvent(f"{segment.path} was told {event} at {now_s}")

    monkeypatch.setattr("supervisor.core.couplings.move", broken)
    if strict:
        with pytest.raises(IllegalEvent):
            stage.stop("g")
    else:
        stage.stop("g")
        assert [type(action) for action in stage.last.actions] == [Report, Answer]
    assert {path: encode_state(state) for path, state in stage.tree.states.items()} == before


# --------------------------------------------------------------------------------------------- time


def test_due_deadlines_fire_in_order() -> None:
    """Earliest first; those due together in tree order (1.1)."""
    stage = Stage(
        "p one_for_one max_restarts=9\n  c service backoff=3\n  b service backoff=2\n"
        "  a service backoff=3"
    ).all_up()
    for name in "abc":
        stage.exits(name, OOM, at=10)
    orders = stage.tick(at=99)
    assert [line.split("#")[0] for line in orders] == ["start p/b", "start p/c", "start p/a"]


def test_deadline_is_settled_before_the_next_fires() -> None:
    """All that follows from the earlier one comes first, also for siblings (1.1)."""
    stage = Stage(
        "p one_for_one\n  g one_for_all\n    a service\n    b service backoff=1\n"
        "  c service backoff=2"
    ).all_up()
    stage.exits("c", OOM, at=10)
    stage.exits("b", OOM, at=10)
    stage.exits("a", STOPPED, at=10)
    orders = stage.tick(at=99)
    assert [line.split("#")[0] for line in orders] == ["start p/g/a", "start p/c"]


def test_tick_before_the_deadline_does_nothing() -> None:
    """A tick may come at any time (1.1)."""
    stage = Stage(TREE).all_up()
    stage.exits("b", OOM, at=10)
    assert stage.next() == 15
    stage.tick(at=14.999)
    assert stage.last.changed == ()
    assert stage.last.actions == ()


def test_no_deadline_when_nothing_is_awaited() -> None:
    """Running services without a quota need no tick."""
    assert next_deadline(Stage(TREE).all_up().tree) is None


# ------------------------------------------------------------------------------ saving and crashing


def test_changed_names_what_changed_and_nothing_else() -> None:
    """A snapshot costs what a step changes (9.6)."""
    stage = Stage(TREE).all_up()
    stage.exits("b", OOM, at=10)
    assert set(stage.last.changed) == {"p/b", "p"}
    assert set(stage.last.before) == {"p/b", "p"}


def test_rollback_takes_back_the_latest_step() -> None:
    """States and deadlines are as before, and the same event gives the same step again (1.6)."""
    stage = Stage(TREE).all_up()
    stage.exits("b", OOM, at=10)
    states, deadline_s = dict(stage.tree.states), next_deadline(stage.tree)
    for event in (Tick(), StopRequested("p/b", 4), DrainRequested(5)):
        undone = step(stage.tree, event, 15.0)
        rollback(stage.tree, undone)
        assert dict(stage.tree.states) == states
        assert next_deadline(stage.tree) == deadline_s
        assert step(stage.tree, event, 15.0).actions == undone.actions
        rollback(stage.tree, undone)


def test_outstanding_is_what_is_in_flight() -> None:
    """Start what starts, adopt what runs, stop or kill what is being stopped (1.6)."""
    stage = Stage(
        "p one_for_one max_restarts=9\n  a service backoff=0\n  b service\n  c service\n"
        "  d service grace=0\n  e service backoff=9\n  f\n  g after=p/f"
    ).all_up()
    stage.exits("a", OOM)
    stage.stop("c", at=1)
    stage.stop("d", at=1)
    stage.exits("e", OOM, at=1)
    expected = [
        "start p/a#2 (attempt 2, after oom)",
        "adopt p/b#1",
        "adopt p/c#1",
        "stop p/c#1",
        "adopt p/d#1",
        "kill p/d#1",
        "adopt p/f#1",
    ]
    assert [describe_action(action) for action in outstanding(stage.tree)] == expected
    assert stage.reload() == expected


@pytest.mark.parametrize("failed", [True, False])
def test_halt_is_outstanding_when_all_is_down(*, failed: bool) -> None:
    """A daemon that died between saving its halt and ending is told once more (1.6)."""
    stage = Stage("p one_for_all max_restarts=0\n  a service").all_up()
    if failed:
        stage.exits("a", CRASH)
    else:
        stage.drain()
        stage.exits("a", STOPPED)
    assert stage.reload() == ["halt failed" if failed else "halt"]


def test_deadlines_survive_a_restart() -> None:
    """A backoff ends when it would have ended, whoever waits for it (1.6)."""
    stage = Stage(TREE).all_up()
    stage.exits("b", OOM, at=10)
    stage.reload()
    assert stage.next() == 15
    assert stage.tick(at=15) == ["start p/b#2 (attempt 2, after oom)"]


def saved_states() -> dict[str, dict[str, object]]:
    tree = Stage(TREE).all_up().tree
    return {
        path: json.loads(json.dumps(encode_state(state))) for path, state in tree.states.items()
    }


def test_restore_gives_back_every_state() -> None:
    """What was saved is what is restored."""
    tree = restore(spec_of(TREE), saved_states())
    assert tree.states["p/b"] == SegmentState(Running(0.0), incarnation=1)
    assert {path: encode_state(state) for path, state in tree.states.items()} == {
        path: encode_state(state) for path, state in Stage(TREE).all_up().tree.states.items()
    }


def test_restore_refuses_another_trees_states() -> None:
    """A snapshot that misses a node, has a stranger, or mixes up kinds is no snapshot of this."""
    states = saved_states()
    with pytest.raises(SpecError, match="p/b"):
        restore(spec_of(TREE), {path: one for path, one in states.items() if path != "p/b"})
    with pytest.raises(SpecError, match="p/x"):
        restore(spec_of(TREE), {**states, "p/x": states["p/b"]})
    with pytest.raises(SpecError, match="another kind"):
        restore(spec_of(TREE), {**states, "p/b": states["p/g"]})
