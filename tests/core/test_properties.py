"""Random trees in a random world: late and doubled news, requests, our own death.

What must hold is in `invariants.violations`, in the world's refusals, and in the tests here. Each
property is tried on short stories that Hypothesis shrinks, and on long walks from fixed seeds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

import hypothesis.strategies as st
import pytest
from hypothesis import given
from random_stories import draw_pipeline, play
from simulated_world import World

from supervisor.core.codec import encode_state
from supervisor.core.events import DrainRequested, StopRequested
from supervisor.core.spec import Kind, Restart, SegmentSpec, Strategy, SupervisorSpec
from supervisor.core.state import (
    BackingOff,
    Down,
    Ended,
    Idle,
    Running,
    SupervisorBackingOff,
    SupervisorEnded,
    Up,
    Waiting,
)
from supervisor.core.tree import Segment, Supervisor, Tree

SHORT, LONG = 15, 150
WALKS = 120


def the_promises_are_kept(chance: Random, moves: int) -> None:
    """Never two lives of one segment, no order about the dead, starts in order, stops reversed."""
    play(World(draw_pipeline(chance)), chance, moves)


def nobody_is_stuck_or_forgotten(chance: Random, moves: int) -> None:
    """Once everybody behaves, the tree comes to rest, and each node's rest has a reason."""
    world = World(draw_pipeline(chance))
    play(world, chance, moves)
    if world.halted is None:
        world.calm_down(fulfil=lambda segment: segment.spec.restart is not Restart.PERMANENT)
    assert unexplained(world.tree) == []


def down_ends_everything(chance: Random, moves: int) -> None:
    """Whatever happened before, `down` stops all that lives, and then the core halts."""
    world = World(draw_pipeline(chance))
    play(world, chance, moves)
    if world.halted is None:
        world.tell(DrainRequested(request=1))
        world.calm_down()
        assert world.halted is not None
    assert world.bodies == {}
    assert not any(
        isinstance(state.phase, BackingOff | SupervisorBackingOff | Waiting)
        for state in world.tree.states.values()
    )


def replay_gives_the_same_tree(chance: Random, moves: int) -> None:
    """Same events at the same times give the same states, crashes of ours notwithstanding."""
    world = World(draw_pipeline(chance))
    play(world, chance, moves)
    replayed = {
        path: json.loads(json.dumps(encode_state(state)))
        for path, state in world.replay().states.items()
    }
    assert replayed == world.all_states()


PROPERTIES = (
    the_promises_are_kept,
    nobody_is_stuck_or_forgotten,
    down_ends_everything,
    replay_gives_the_same_tree,
)
every_property = pytest.mark.parametrize("holds", PROPERTIES, ids=lambda one: one.__name__)


@every_property
@given(chance=st.randoms(use_true_random=False), moves=st.integers(0, SHORT))
def test_short_stories(holds: Callable[[Random, int], None], chance: Random, moves: int) -> None:
    """The property holds in every short story that Hypothesis can think of."""
    holds(chance, moves)


@every_property
@pytest.mark.parametrize("seed", range(WALKS))
def test_long_walks(holds: Callable[[Random, int], None], seed: int) -> None:
    """The property holds on a long random walk, where restarts, groups and give-ups pile up."""
    holds(Random(seed), LONG)


@pytest.mark.parametrize("strategy", Strategy)
def test_stopping_the_root_is_down(strategy: Strategy) -> None:
    """A stop of the root drains: everything goes in reverse order, then the core halts."""
    children = tuple(SegmentSpec(name, kind=Kind.SERVICE) for name in "ab")
    spec = SupervisorSpec("p", children, strategy)
    world = World(spec)
    world.calm_down()
    world.trace.clear()
    world.tell(StopRequested("p", request=3))
    world.calm_down()
    assert world.trace == ["answer 3 yes ok: going down", "stop p/b#1", "stop p/a#1", "halt"]


def unexplained(tree: Tree) -> list[str]:
    """Nodes that rest, or do not, although nothing says that they should."""
    return [
        f"{node.path} {node.state}"
        for node in tree.nodes.values()
        if not (_segment_is_explained(node) if isinstance(node, Segment) else _is_explained(node))
    ]


def _segment_is_explained(segment: Segment) -> bool:
    match segment.state.phase:
        case Running():
            endless = segment.spec.kind is Kind.SERVICE
            return endless or segment.spec.restart is Restart.PERMANENT
        case Ended():
            return True
        case Waiting():
            return not segment.cleared
        case Idle():
            down = isinstance(segment.parent.state.phase, Down | SupervisorEnded)
            return down or not segment.state.wanted
        case _:
            return False


def _is_explained(supervisor: Supervisor) -> bool:
    match supervisor.state.phase:
        case Up() | SupervisorEnded():
            return True
        case Down():
            above = supervisor.parent is not None and not supervisor.parent.active
            return above or not supervisor.state.wanted
        case _:
            return False
