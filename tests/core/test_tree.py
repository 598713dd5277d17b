"""The fixed shape of a tree, and its deadlines."""

from __future__ import annotations

import pytest
from stage import OOM, Stage, spec_of

from supervisor.core import next_deadline
from supervisor.core.spec import SegmentSpec, SupervisorSpec
from supervisor.core.state import BackingOff, Recycling, Running, Starting, SupervisorState
from supervisor.core.tree import Segment, Tree, deadline_of, lets_begin, subtree
from supervisor.errors import SpecError

TREE = """
p one_for_one
  g rest_for_one
    a service
    b after=p/g/a,p/c
  c
"""


def test_nodes_know_their_places() -> None:
    """Paths, positions and parents; parents before children, siblings in start order."""
    tree = Tree(spec_of(TREE))
    assert list(tree.nodes) == ["p", "p/g", "p/g/a", "p/g/b", "p/c"]
    assert [node.order for node in tree.nodes.values()] == [0, 1, 2, 3, 4]
    assert [node.position for node in tree.nodes.values()] == [0, 0, 0, 1, 1]
    parents = [node.parent and node.parent.path for node in tree.nodes.values()]
    assert parents == [None, "p", "p/g", "p/g", "p"]
    assert [node.path for node in subtree(tree.nodes["p/g"])] == ["p/g", "p/g/a", "p/g/b"]


def test_after_is_known_in_both_directions() -> None:
    """Who waits, and for whom, without a search."""
    tree = Tree(spec_of(TREE))
    first, second, third = (tree.nodes[path] for path in ("p/g/a", "p/g/b", "p/c"))
    assert isinstance(first, Segment)
    assert isinstance(second, Segment)
    assert second.prerequisites == (first, third)
    assert first.dependents == (second,)


def test_deep_trees_need_no_deep_stack() -> None:
    """Fifteen hundred levels are planted, and walked, in one frame."""
    spec = SupervisorSpec("s", (SegmentSpec("leaf"),))
    for _ in range(1500):
        spec = SupervisorSpec("s", (spec,))
    tree = Tree(spec)
    assert len(tree.nodes) == 1502
    assert sum(1 for _ in subtree(tree.root)) == 1502


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("p one_for_one\n  a\n  a", "p/a"),
        ("p one_for_one\n  a after=p/nobody", "p/nobody"),
        ("p one_for_one\n  a after=p", "names p in"),
    ],
)
def test_trees_that_cannot_be(text: str, named: str) -> None:
    """Two nodes of one name, or an `after` that names no segment (the loader says it better)."""
    with pytest.raises(SpecError, match=named):
        Tree(spec_of(text))


def test_states_are_a_view() -> None:
    """One mapping of all states that is never out of date."""
    stage = Stage(TREE)
    states = stage.tree.states
    assert len(states) == 5
    assert isinstance(states["p/g/a"].phase, Starting)
    stage.ready("a")
    assert isinstance(states["p/g/a"].phase, Running)
    assert "p/nobody" not in states


@pytest.mark.parametrize(("path", "fulfils"), [("p/g/a", True), ("p/c", False)])
def test_a_service_fulfils_by_running_and_a_task_does_not(path: str, *, fulfils: bool) -> None:
    """A task that runs has not completed (6.2)."""
    idle, running = Tree(spec_of(TREE)).nodes[path], Stage(TREE).all_up().tree.nodes[path]
    assert isinstance(idle, Segment)
    assert isinstance(running, Segment)
    assert not idle.fulfils
    assert running.fulfils is fulfils


def test_who_may_begin() -> None:
    """Before its turn, in a group, or below what goes down: nobody (4.6, 5.3)."""
    stage = Stage("p one_for_one\n  a service\n  b service\n  c service")
    nodes = [stage.tree.nodes[f"p/{name}"] for name in "abc"]
    assert [lets_begin(node) for node in nodes] == [True, False, False]
    stage.all_up()
    assert [lets_begin(node) for node in nodes] == [True, True, True]
    stage.drain()
    assert [lets_begin(node) for node in nodes] == [False, False, False]
    group = Stage("p rest_for_one\n  a service\n  b service\n  c service").all_up()
    group.exits("b")
    nodes = [group.tree.nodes[f"p/{name}"] for name in "abc"]
    assert [lets_begin(node) for node in nodes] == [True, False, False]
    assert lets_begin(group.tree.root)


@pytest.mark.parametrize(("cursor", "deadline_s"), [(1, None), (0, None), (-1, 9.0)])
def test_hold_off_is_a_deadline_only_when_all_are_gone(
    cursor: int, deadline_s: float | None
) -> None:
    """Until then exits drive the group; a hold-off that has passed would be due for ever (5.3)."""
    root = Tree(spec_of("p rest_for_one\n  a\n  b")).root
    root.state = SupervisorState(Recycling(1.0, 0, cursor, 9.0))
    assert deadline_of(root) == deadline_s


def test_deadlines_that_were_passed_over_are_forgotten() -> None:
    """A crash loop under long deadlines does not pile up what it never needs (9.6)."""
    stage = Stage("p one_for_one max_restarts=9999\n  a service backoff=0 start_timeout=99999")
    for _ in range(500):
        stage.exits("a", OOM)
    assert len(stage.tree._deadlines) <= 130
    assert next_deadline(stage.tree) == 99999


def test_forgetting_keeps_what_is_awaited() -> None:
    """Compaction loses no deadline that is still ahead."""
    lines = "\n".join(f"  s{number} service backoff={number + 1}" for number in range(100))
    stage = Stage(f"p one_for_one max_restarts=9999\n{lines}").all_up()
    for number in range(100):
        stage.exits(f"s{number}", OOM, at=10)
    states = [state for path, state in stage.tree.states.items() if path != "p"]
    assert all(isinstance(state.phase, BackingOff) for state in states)
    fired: list[float] = []
    while len(fired) <= 100 and (at_s := stage.next()) is not None:
        fired.append(at_s)
        stage.tick(at=at_s)
        stage.all_up()
    assert fired == [11.0 + number for number in range(100)]


def test_going_down_is_living_but_not_active() -> None:
    """A supervisor that goes down lives, and starts nothing."""
    stage = Stage("p one_for_one\n  a service").all_up()
    root = stage.tree.root
    assert (root.lives, root.active) == (True, True)
    stage.drain()
    assert (root.lives, root.active) == (True, False)
    stage.exits("a")
    assert (root.lives, root.active) == (False, False)
