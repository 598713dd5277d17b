"""A phase owns exactly the fields that make sense in it."""

from __future__ import annotations

import dataclasses

import pytest

from supervisor.core import state
from supervisor.core.state import Phase, SegmentState, SupervisorPhase, SupervisorState

FIELDS = {
    state.Idle: set(),
    state.Waiting: {"since_s"},
    state.Starting: {"since_s", "deadline_s"},
    state.Running: {"since_s", "deadline_s"},
    state.Stopping: {"since_s", "kill_at_s", "why"},
    state.Killing: {"since_s", "again_at_s", "why"},
    state.BackingOff: {"since_s", "until_s"},
    state.Ended: {"since_s", "how"},
    state.Down: set(),
    state.BringingUp: {"since_s", "cursor", "keeps_counters"},
    state.Up: {"since_s"},
    state.Recycling: {"since_s", "first", "cursor", "hold_until_s"},
    state.GoingDown: {"since_s", "cursor", "why"},
    state.SupervisorBackingOff: {"since_s", "until_s"},
    state.SupervisorEnded: {"since_s", "how"},
}


def test_phases_hold_what_belongs_to_them() -> None:
    """No kill deadline on a running child, no backoff on a stopped one."""
    found = {
        cls: {field.name for field in dataclasses.fields(cls)}
        for cls in (*Phase.__args__, *SupervisorPhase.__args__)
    }
    assert found == FIELDS


@pytest.mark.parametrize("fresh", [SegmentState(), SupervisorState()])
def test_fresh_states_are_wanted_and_unused(fresh: SegmentState | SupervisorState) -> None:
    """Nobody stopped it, nothing was counted, no life began."""
    assert fresh.wanted
    assert (fresh.incarnation, fresh.streak, fresh.restarts, fresh.restart_count) == (0, 0, (), 0)
    assert fresh.last_exit is None


def test_states_cannot_be_changed() -> None:
    """Only replaced: a step keeps what was before."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        SegmentState().streak = 1  # type: ignore[misc]
