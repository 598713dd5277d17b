"""Random changes of random trees that do random things: nothing is lost, nothing is touched.

A change is random, too: nodes are removed, added and moved, policies and bodies differ. What must
hold is in `invariants.violations`, in the world's refusals, and in the tests here.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import hypothesis.strategies as st
import pytest
from changing_world import ChangingWorld
from hypothesis import given, settings
from random_stories import draw_pipeline, play
from test_properties import unexplained

from supervisor.core.actions import Kill, Stop
from supervisor.core.changes import Effect, compare
from supervisor.core.events import DrainRequested
from supervisor.core.spec import (
    AutoShutdown,
    Body,
    NodeSpec,
    Path,
    Restart,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from supervisor.core.state import (
    BringingUp,
    Ended,
    GoingDown,
    Recycling,
    SupervisorEnded,
    Up,
)
from supervisor.core.templates import templated
from supervisor.core.tree import Segment, Tree

CHANGES = 3


def draw_change(chance: Random, spec: SupervisorSpec) -> SupervisorSpec:
    """Another spec of the same pipeline; what `after` names is always there."""
    changed = _changed_supervisor(chance, spec, 2)
    there = set(_segments("", changed))
    return _with_resolved(changed, "", there)


def _changed_supervisor(chance: Random, spec: SupervisorSpec, depth: int) -> SupervisorSpec:
    children: list[NodeSpec] = []
    for child in spec.children:
        if chance.random() < 0.15:
            continue
        if isinstance(child, SupervisorSpec):
            children.append(_changed_supervisor(chance, child, depth - 1))
        else:
            children.append(_changed_segment(chance, child))
    if spec.template is not None:
        return templated(spec.template, chance.randint(1, 4))
    if chance.random() < 0.3:
        children.insert(chance.randint(0, len(children)), _new_child(chance, children))
    if chance.random() < 0.15:
        chance.shuffle(children)
    strategy = chance.choice(list(Strategy)) if chance.random() < 0.2 else spec.strategy
    most = chance.randint(0, 4) if chance.random() < 0.2 else spec.max_restarts
    return replace(spec, children=tuple(children), strategy=strategy, max_restarts=most)


def _new_child(chance: Random, siblings: list[NodeSpec]) -> NodeSpec:
    number = chance.randint(10, 15)
    taken = {one.name for one in siblings}
    while {f"s{number}", f"g{number}", f"t{number}"} & taken:
        number += 1
    leaf = SegmentSpec(f"s{number}", restart=chance.choice(list(Restart)))
    dice = chance.random()
    if dice < 0.2:
        return templated(replace(leaf, name=f"t{number}"), chance.randint(1, 3))
    if dice < 0.7:
        return leaf
    return SupervisorSpec(f"g{number}", (leaf, SegmentSpec("s1")))


def _changed_segment(chance: Random, spec: SegmentSpec) -> SegmentSpec:
    dice = chance.random()
    if dice < 0.15:
        return replace(spec, body=Body(params={"n": chance.randint(0, 9)}))
    if dice < 0.25:
        return replace(spec, shutdown=Shutdown(chance.choice((0.0, 3.0, None))))
    if dice < 0.35:
        return replace(spec, start_timeout_s=chance.choice((2.0, 9.0)))
    if dice < 0.4:
        return replace(spec, after=())
    return spec


def _segments(above: Path, spec: NodeSpec) -> list[Path]:
    path = f"{above}/{spec.name}" if above else spec.name
    if isinstance(spec, SegmentSpec):
        return [path]
    return [found for child in spec.children for found in _segments(path, child)]


def _with_resolved(spec: SupervisorSpec, above: Path, there: set[Path]) -> SupervisorSpec:
    """Leave out of every `after` what is not there any more, and what stands behind it."""
    children: list[NodeSpec] = []
    for child in spec.children:
        if isinstance(child, SupervisorSpec):
            children.append(_with_resolved(child, above, there))
        else:
            children.append(replace(child, after=tuple(one for one in child.after if one in there)))
    return replace(spec, children=tuple(children))


def change(world: ChangingWorld, chance: Random) -> None:
    """Apply a random change, at times in vain first, at times dying right after it was saved."""
    spec = draw_change(chance, world.spec)
    if chance.random() < 0.2:
        world.change_in_vain(spec)
    world.change(spec, dies_before_acting=chance.random() < 0.2)


def story(chance: Random, moves: int) -> ChangingWorld:
    """A random tree lives, and is changed a few times meanwhile."""
    world = ChangingWorld(draw_pipeline(chance))
    for _ in range(CHANGES):
        play(world, chance, moves)
        if world.halted is not None:
            break
        change(world, chance)
    return world


@settings(max_examples=300, deadline=None)
@given(chance=st.randoms(use_true_random=False), moves=st.integers(0, 12))
def test_a_changed_tree_comes_to_rest_as_the_new_spec_says(chance: Random, moves: int) -> None:
    """Once everybody behaves, nothing is left of the change and each rest has a reason."""
    world = story(chance, moves)
    if world.halted is None:
        world.calm_down(fulfil=lambda segment: segment.spec.restart is not Restart.PERMANENT)
    if world.halted is None:
        assert not world.tree.is_changing
        assert world.tree.root.spec == world.spec
        assert sorted(world.tree.nodes) == sorted(Tree(world.spec).nodes)
    assert unexplained(world.tree) == []


@settings(max_examples=150, deadline=None)
@given(chance=st.randoms(use_true_random=False), moves=st.integers(0, 12))
def test_down_ends_a_changed_tree(chance: Random, moves: int) -> None:
    """Whatever a change has left half done, `down` stops all that lives, and the core halts."""
    world = story(chance, moves)
    if world.halted is None:
        world.tell(DrainRequested(request=1))
        world.calm_down()
        assert world.halted is not None
    assert world.bodies == {}


@settings(max_examples=300, deadline=None)
@given(chance=st.randoms(use_true_random=False), moves=st.integers(0, 12))
def test_a_change_stops_only_what_the_plan_says(chance: Random, moves: int) -> None:
    """Every order to stop is about a node that leaves or whose body is another one."""
    world = ChangingWorld(draw_pipeline(chance))
    play(world, chance, moves)
    if world.halted is not None or _is_stopping_some(world.tree):
        return
    spec = draw_change(chance, world.spec)
    plan = compare(world.spec, spec, world.tree.states)
    allowed = {one.path for one in plan if one.effect in {Effect.STOP, Effect.RESTART}}
    stopped = [one.path for one in world.change(spec).actions if isinstance(one, Stop | Kill)]
    assert set(stopped) <= allowed


@settings(max_examples=300, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_after_a_change_the_tree_is_as_if_it_had_always_been_so(chance: Random) -> None:
    """A healthy tree that is changed ends like a fresh launch of the new spec, lives aside."""
    world = ChangingWorld(_never_finishing(draw_pipeline(chance)))
    world.calm_down(fulfil=lambda _: False, until_s=4.0)
    if world.halted is not None:
        return
    spec = draw_change(chance, world.spec)
    world.change(spec)
    world.calm_down(fulfil=_ends, until_s=world.now_s + 4.0)
    fresh = ChangingWorld(spec)
    fresh.calm_down(fulfil=_ends, until_s=4.0)
    assert phases(world.tree) == phases(fresh.tree)
    assert world.bodies.keys() == fresh.bodies.keys()


@settings(max_examples=150, deadline=None)
@given(chance=st.randoms(use_true_random=False), moves=st.integers(0, 12))
def test_the_same_spec_again_changes_nothing(chance: Random, moves: int) -> None:
    """Applying what runs already orders nothing and moves nothing."""
    world = ChangingWorld(draw_pipeline(chance))
    play(world, chance, moves)
    if world.halted is not None:
        return
    before = world.all_states()
    made = world.change(world.spec)
    assert [type(one).__name__ for one in made.actions] == ["Answer"]
    assert made.changed == ()
    assert world.all_states() == before


@pytest.mark.parametrize("seed", range(60))
def test_long_walks_of_changes(seed: int) -> None:
    """Changes pile up on trees in which restarts, groups and give-ups pile up."""
    world = story(Random(seed), 60)
    assert world.halted is not None or unexplained(_calmed(world)) == []


def _calmed(world: ChangingWorld) -> Tree:
    world.calm_down(fulfil=_ends)
    return world.tree


def _never_finishing(spec: SupervisorSpec) -> SupervisorSpec:
    """The tree without `auto_shutdown`: who has finished then depends on when it was changed."""
    children = (
        _never_finishing(child) if isinstance(child, SupervisorSpec) else child
        for child in spec.children
    )
    return replace(spec, children=tuple(children), auto_shutdown=AutoShutdown.NEVER)


def _ends(segment: Segment) -> bool:
    return segment.spec.restart is not Restart.PERMANENT


def _is_stopping_some(tree: Tree) -> bool:
    """Does a supervisor stop its children anyway? Then the next one goes when one leaves."""
    return any(isinstance(one.phase, Recycling | GoingDown) for one in tree.states.values())


def phases(tree: Tree) -> dict[Path, str]:
    """Every node's phase by name; up is up, whether or not a child is still awaited."""
    up = (BringingUp, Up)
    return {
        path: "Up" if isinstance(state.phase, up) else type(state.phase).__name__
        for path, state in tree.states.items()
        if not isinstance(state.phase, Ended | SupervisorEnded)
    }
