"""The words for everything; the golden traces of tests/core/scenarios use the rest of them."""

from __future__ import annotations

import pytest
from stage import OOM, Stage
from test_codec import ACTIONS, EVENTS, STATES

from supervisor.core import events, state
from supervisor.core.actions import Action
from supervisor.core.describe import (
    describe_action,
    describe_event,
    describe_phase,
    describe_state,
)
from supervisor.core.state import SegmentState, SupervisorState, Why


@pytest.mark.parametrize("one", STATES, ids=lambda one: f"{one.phase}-{one.last_exit}")
def test_every_state_has_one_line(one: state.NodeState) -> None:
    """A line begins with the phase's name and says what is out of the ordinary."""
    line = describe_state(one)
    assert "\n" not in line
    assert line.startswith(describe_phase(one.phase))
    assert ("unwanted" in line) is not one.wanted


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event}")
def test_every_event_has_one_line(event: events.Event) -> None:
    """A line names the path, and the life if it is news about one."""
    line = describe_event(event)
    assert "\n" not in line
    path = getattr(event, "path", "")
    life = f"{path}#{event.incarnation}" if isinstance(event, events.LifeEvent) else path
    assert life in line


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_every_action_has_one_line(action: Action) -> None:
    """A line begins with the action's own name."""
    line = describe_action(action)
    assert "\n" not in line
    assert line.startswith(type(action).__name__.lower())


@pytest.mark.parametrize(
    ("phase", "line"),
    [
        (state.Idle(), "idle"),
        (state.Starting(1.0, 61.0), "starting until 61"),
        (state.Running(1.0), "running"),
        (state.Running(1.0, 7201.5), "running until 7201.5"),
        (state.Stopping(1.0, None, Why.GROUP), "stopping (group)"),
        (state.Killing(1.0, 6.0, Why.HANG), "killing (hang) until 6"),
        (state.Ended(1.0, state.Ending.DROPPED), "ended dropped"),
        (state.BringingUp(1.0, 2, keeps_counters=True), "bringing_up at 2 (counters kept)"),
        (state.Recycling(1.0, 1, 3, 9.0), "recycling from 1, at 3, held until 9"),
        (state.GoingDown(1.0, 0, Why.GAVE_UP), "going_down (gave_up) at 0"),
        (state.SupervisorBackingOff(1.0, 2.5), "supervisor_backing_off until 2.5"),
    ],
)
def test_phase(phase: state.Phase | state.SupervisorPhase, line: str) -> None:
    """The name, and what the phase waits for."""
    assert describe_phase(phase) == line


def test_states() -> None:
    """Only what differs from the ordinary is said."""
    assert describe_state(SegmentState()) == "idle #0"
    troubled = SegmentState(
        state.Running(2.0), 4, wanted=False, streak=2, restart_count=3, last_exit=OOM
    )
    assert describe_state(troubled) == "running #4, unwanted, streak 2, restarts 3, last oom"
    assert describe_state(SupervisorState(state.Up(1.0), 1, failed=True)) == "up #1, failed"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (events.Started("p/a", 1, 77, "n1"), "started p/a#1 pid 77 on n1"),
        (events.Started("p/a", 1, 77), "started p/a#1 pid 77"),
        (events.Unresponsive("p/a", 2, "late"), "unresponsive p/a#2: late"),
        (events.StopRequested("p/a", 5), "stop requested p/a"),
        (events.DrainRequested(5), "drain requested"),
        (events.Tick(), "tick"),
    ],
)
def test_events(event: events.Event, line: str) -> None:
    """Who, which life, what."""
    assert describe_event(event) == line


def test_tree_is_drawn_with_its_depth() -> None:
    """One line per node, children below and right of their supervisor."""
    stage = Stage("p one_for_one\n  g one_for_all\n    a service\n  b")
    assert stage.drawing().splitlines() == [
        "p one_for_one bringing_up at 0 #1",
        "  g one_for_all bringing_up at 0 #1",
        "    a service starting until 60 #1",
        "  b task idle #0",
    ]
