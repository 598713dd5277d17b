"""A checker that never complains proves nothing: each sentence is provoked once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from stage import Stage

from supervisor.core import state
from supervisor.core.invariants import violations
from supervisor.core.state import NodeState, SegmentState, SupervisorState, Why
from supervisor.core.tree import Segment

TREE = """
p one_for_one
  g rest_for_one max_restarts=1
    a service
    b service after=p/g/a
    c service
  d service
"""

STOPPING = state.Stopping(0.0, None, Why.USER_STOP)

# What is done to a sound tree (everything runs), and what the checker must say about it.
DAMAGES: dict[str, dict[str, NodeState]] = {
    "p/g/b: waits although everything named in `after` is fulfilled": {
        "b": SegmentState(state.Waiting(0.0), 1)
    },
    "p/g/a: lives without an incarnation": {"a": SegmentState(state.Running(0.0), 0)},
    "p/g/a: runs although a person stopped it": {
        "a": SegmentState(state.Running(0.0), 1, wanted=False)
    },
    "p/g/a: is scheduled although a person stopped it": {
        "a": SegmentState(state.BackingOff(0.0, 1.0), 1, wanted=False)
    },
    "p/g/a: is stopped for a group restart that is not under way": {
        "a": SegmentState(state.Stopping(0.0, None, Why.GROUP), 1)
    },
    "p/d: is stopped for a shutdown that is not under way": {
        "d": SegmentState(state.Killing(0.0, 5.0, Why.SHUTDOWN), 1)
    },
    "p/d: was forgotten: it could begin, is wanted, and nothing will start it": {
        "d": SegmentState(incarnation=1)
    },
    "p/g: was forgotten: it could begin, is wanted, and nothing will start it": {
        "g": SupervisorState(incarnation=1)
    },
    "p/g: is up although a person stopped it": {
        "g": SupervisorState(state.Up(0.0), 1, wanted=False)
    },
    "p/g: has restarted more often than its limit allows": {
        "g": SupervisorState(state.Up(0.0), 1, restarts=(1.0, 2.0))
    },
    "p/g: has its cursor at 3, outside its children": {
        "g": SupervisorState(state.BringingUp(0.0, 3), 1)
    },
    "p/g: awaits p/g/a, where nothing lives": {
        "g": SupervisorState(state.BringingUp(0.0, 0), 1),
        "a": SegmentState(state.Ended(0.0, state.Ending.FAILED), 1),
    },
    "p/g: has started a child before its turn": {"g": SupervisorState(state.BringingUp(0.0, 1), 1)},
    "p/g: has stopped a child before those that started after it": {
        "g": SupervisorState(state.Recycling(0.0, 1, 1, 9.0), 1),
        "b": SegmentState(state.Stopping(0.0, None, Why.GROUP), 1),
    },
    "p/g: awaits the end of p/g/c, which was not told to go": {
        "g": SupervisorState(state.GoingDown(0.0, 2, Why.GAVE_UP), 1)
    },
    "p/g: is down, but something below it is not": {
        "g": SupervisorState(state.SupervisorEnded(0.0, state.Ending.GAVE_UP), 1)
    },
    "p: is the root and waits to be restarted by nobody": {
        "p": SupervisorState(state.SupervisorBackingOff(0.0, 1.0), 1)
    },
}


def damaged(stage: Stage, name: str, state: NodeState) -> None:
    """Put a state where no step would, and wait for its deadline as a step would."""
    stage.tree.reinstate(stage.tree.nodes[stage.path(name)], state)


def test_sound_tree() -> None:
    """Nothing is said about a tree that just came up."""
    assert violations(Stage(TREE).all_up().tree) == []


@pytest.mark.parametrize("sentence", DAMAGES)
def test_damage_is_seen(sentence: str) -> None:
    """Each damage is told in its own words."""
    stage = Stage(TREE).all_up()
    for name, broken in DAMAGES[sentence].items():
        damaged(stage, name, broken)
    assert sentence in violations(stage.tree)


def test_lost_deadline_is_seen() -> None:
    """A deadline that nobody waits for would never fire."""
    stage = Stage(TREE).all_up()
    segment = stage.tree.nodes["p/d"]
    assert isinstance(segment, Segment)
    segment.state = replace(segment.state, phase=state.Running(0.0, 9.0))
    assert violations(stage.tree) == ["the next deadline is 9.0, but None is waited for"]
