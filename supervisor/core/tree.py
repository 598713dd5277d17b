"""The tree: who stands where (fixed), how each node is (changing), and which deadline is next.

Decides nothing. The shape is read from the spec once; after that a node's parent, position,
children and dependents are one attribute away, so that no step ever searches. States are frozen
values; only `draft.py` replaces them, and remembers what was there before.
Read next: `state.py` (the values), `draft.py` (how one step changes them), `machine.py` (why).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from supervisor.core.spec import Kind, Path, SegmentSpec, SupervisorSpec
from supervisor.core.state import (
    BackingOff,
    BringingUp,
    Down,
    Ended,
    Ending,
    GoingDown,
    Idle,
    Killing,
    NodeState,
    Recycling,
    Running,
    SegmentState,
    Starting,
    Stopping,
    SupervisorBackingOff,
    SupervisorState,
    Up,
)
from supervisor.errors import SpecError

_FRESH_SEGMENT = SegmentState()
_FRESH_SUPERVISOR = SupervisorState()

_ALIVE = frozenset({Starting, Running, Stopping, Killing})
_ACTIVE = frozenset({BringingUp, Up, Recycling})
_STANDING = _ACTIVE | {GoingDown}


class Segment:
    """A leaf and its place.

    Args:
        order: index in a walk that meets parents before children and siblings in start order.
        dependents: segments that name this one in `after`.
    """

    __slots__ = (
        "dependents",
        "order",
        "parent",
        "path",
        "position",
        "prerequisites",
        "spec",
        "state",
    )

    def __init__(
        self, path: Path, spec: SegmentSpec, parent: Supervisor, position: int, order: int
    ) -> None:
        self.path = path
        self.spec = spec
        self.parent = parent
        self.position = position
        self.order = order
        self.prerequisites: tuple[Segment, ...] = ()
        self.dependents: tuple[Segment, ...] = ()
        self.state = _FRESH_SEGMENT

    @property
    def lives(self) -> bool:
        """Is there a body, or an order that may have made one?"""
        return type(self.state.phase) in _ALIVE

    @property
    def fulfils(self) -> bool:
        """May those that named it in `after` start? A task must have completed, a service run."""
        phase = self.state.phase
        if self.spec.kind is Kind.SERVICE:
            return type(phase) is Running
        return type(phase) is Ended and phase.how is Ending.COMPLETED

    @property
    def cleared(self) -> bool:
        """Is everything that it named in `after` fulfilled?"""
        if not self.prerequisites:
            return True
        return all(prerequisite.fulfils for prerequisite in self.prerequisites)


class Supervisor:
    """An inner node and its place; the root has no parent."""

    __slots__ = ("children", "order", "parent", "path", "position", "spec", "state")

    def __init__(
        self, path: Path, spec: SupervisorSpec, parent: Supervisor | None, position: int, order: int
    ) -> None:
        self.path = path
        self.spec = spec
        self.parent = parent
        self.position = position
        self.order = order
        self.children: tuple[Node, ...] = ()
        self.state = _FRESH_SUPERVISOR

    @property
    def lives(self) -> bool:
        """Is it up, or on its way up or down?"""
        return type(self.state.phase) in _STANDING

    @property
    def active(self) -> bool:
        """Does it start children and restart them (as opposed to: going down, or down)?"""
        return type(self.state.phase) in _ACTIVE


Node = Segment | Supervisor


class Tree:
    """One pipeline: every node by path, and the deadlines that are ahead.

    Args:
        spec: the root.
        declared: what the tree shall be, while it still holds nodes that leave; `spec` without.
        strict: raise `IllegalEvent` for news that cannot be (tests) instead of reporting it.
    """

    __slots__ = (
        "_deadlines",
        "_live_limit",
        "declared",
        "joining",
        "leaving",
        "nodes",
        "root",
        "strict",
    )

    def __init__(
        self, spec: SupervisorSpec, *, declared: SupervisorSpec | None = None, strict: bool = False
    ) -> None:
        self.declared = spec if declared is None else declared
        self.strict = strict
        self.nodes: dict[Path, Node] = {}
        self._deadlines: list[tuple[float, int, Node]] = []
        self._live_limit = 64
        self.root = self._plant(spec)
        self._connect()
        self.leaving = () if self.declared is spec else tuple(_strangers(self.root, self.declared))
        self.joining: tuple[Node, ...] = ()

    @property
    def is_changing(self) -> bool:
        """Is a change of the spec under way? See `reconfigure.py`."""
        return bool(self.leaving or self.joining)

    @property
    def states(self) -> Mapping[Path, NodeState]:
        """Every node's state by path, parents before children; a view, never a copy."""
        return _States(self.nodes)

    def _plant(self, spec: SupervisorSpec) -> Supervisor:
        """Make a node for every spec, without recursion: trees may be deep."""
        root = Supervisor(spec.name, spec, None, 0, 0)
        unplanted: list[Node] = [root]
        while unplanted:
            node = unplanted.pop()
            if node.path in self.nodes:
                raise SpecError(f"two nodes are called {node.path}", hint="rename one of them")
            node.order = len(self.nodes)
            self.nodes[node.path] = node
            if isinstance(node, Supervisor):
                node.children = tuple(
                    _child(node, position, child)
                    for position, child in enumerate(node.spec.children)
                )
                unplanted.extend(reversed(node.children))
        return root

    def _connect(self) -> None:
        """Resolve `after` in both directions."""
        dependents: dict[Segment, list[Segment]] = {}
        for node in self.nodes.values():
            if not isinstance(node, Segment) or not node.spec.after:
                continue
            node.prerequisites = tuple(self._prerequisite(node, path) for path in node.spec.after)
            for prerequisite in node.prerequisites:
                dependents.setdefault(prerequisite, []).append(node)
        for prerequisite, waiting in dependents.items():
            prerequisite.dependents = tuple(waiting)

    def _prerequisite(self, segment: Segment, path: Path) -> Segment:
        found = self.nodes.get(path)
        if not isinstance(found, Segment):
            raise SpecError(
                f"{segment.path} names {path} in `after`, which is no segment of this pipeline",
                hint="name a segment by its full path",
            )
        return found

    def reinstate(self, node: Node, state: NodeState) -> None:
        """Put a node back into a state that it was in before."""
        if isinstance(node, Segment):
            assert isinstance(state, SegmentState)
            node.state = state
        else:
            assert isinstance(state, SupervisorState)
            node.state = state
        self.expect(node)

    # ----------------------------------------------------------------------------------- deadlines

    def expect(self, node: Node) -> None:
        """Note the deadline of the node's present state, if it has one."""
        read = _DEADLINES.get(type(node.state.phase))
        deadline_s = None if read is None else read(node.state.phase)
        if deadline_s is None:
            return
        heapq.heappush(self._deadlines, (deadline_s, node.order, node))
        if len(self._deadlines) > self._live_limit:
            self._forget_passed_over()

    def next_deadline(self) -> float | None:
        """Return when the next deadline is due, None when nothing is waited for."""
        deadlines = self._deadlines
        while deadlines:
            deadline_s, _, node = deadlines[0]
            if deadline_of(node) == deadline_s:
                return deadline_s
            heapq.heappop(deadlines)
        return None

    def take_due(self, now_s: float) -> Node | None:
        """Remove and return the node whose deadline is due first (ties: in tree order)."""
        deadline_s = self.next_deadline()
        if deadline_s is None or deadline_s > now_s:
            return None
        return heapq.heappop(self._deadlines)[2]

    def _forget_passed_over(self) -> None:
        """Drop deadlines of phases that ended before; costs little as it is done rarely."""
        self._deadlines = list(
            {entry for entry in self._deadlines if deadline_of(entry[2]) == entry[0]}
        )
        heapq.heapify(self._deadlines)
        self._live_limit = max(64, 2 * len(self._deadlines))


def _strangers(supervisor: Supervisor, declared: SupervisorSpec) -> Iterator[Node]:
    """Yield, in start order, the highest nodes that the declared tree does not have."""
    known = {child.name: child for child in declared.children}
    for child in supervisor.children:
        spec = known.get(child.spec.name)
        if spec is None:
            yield child
        elif isinstance(child, Supervisor) and isinstance(spec, SupervisorSpec):
            yield from _strangers(child, spec)


def _child(parent: Supervisor, position: int, spec: SegmentSpec | SupervisorSpec) -> Node:
    path = f"{parent.path}/{spec.name}"
    if isinstance(spec, SegmentSpec):
        return Segment(path, spec, parent, position, 0)
    return Supervisor(path, spec, parent, position, 0)


class _States(Mapping[Path, NodeState]):
    """Paths to present states, without copying a hundred thousand of them."""

    __slots__ = ("_nodes",)

    def __init__(self, nodes: Mapping[Path, Node]) -> None:
        self._nodes = nodes

    def __getitem__(self, path: Path) -> NodeState:
        return self._nodes[path].state

    def __iter__(self) -> Iterator[Path]:
        return iter(self._nodes)

    def __len__(self) -> int:
        return len(self._nodes)


def lets_begin(child: Node) -> bool:
    """May this child begin a life now, as far as its supervisor is concerned?

    Not when the supervisor goes down or is down, not when the child is in a group that is being
    restarted, and not before its turn in start order.
    """
    if child.parent is None:
        return True
    phase = child.parent.state.phase
    match phase:
        case Up():
            return True
        case BringingUp():
            return child.parent.spec.template is not None or child.position <= phase.cursor
        case Recycling():
            return child.position < phase.first
        case _:
            return False


def could_begin(node: Node) -> bool:
    """Does nothing keep it from a life, although none is scheduled?"""
    rests = isinstance(node.state.phase, Idle | Down)
    return node.parent is not None and rests and node.state.wanted and lets_begin(node)


def is_below(node: Node, other: Node) -> bool:
    """Is this node the other one, or somewhere below it?"""
    return node.path == other.path or node.path.startswith(f"{other.path}/")


def deadline_of(node: Node) -> float | None:
    """Return when the node's present phase must end by itself; None: never.

    A group restart has a deadline only once everything in the group is down: until then the exits
    of its members drive it, and a hold-off that has passed would be due again and again.
    """
    read = _DEADLINES.get(type(node.state.phase))
    return None if read is None else read(node.state.phase)


def _hold_off(phase: Recycling) -> float | None:
    return phase.hold_until_s if phase.cursor < phase.first else None


_DEADLINES: Mapping[type, Callable[[Any], float | None]] = {
    Starting: attrgetter("deadline_s"),
    Running: attrgetter("deadline_s"),
    Stopping: attrgetter("kill_at_s"),
    Killing: attrgetter("again_at_s"),
    BackingOff: attrgetter("until_s"),
    SupervisorBackingOff: attrgetter("until_s"),
    Recycling: _hold_off,
}
"""Looked up by type, several times in every step; most phases have none."""


def subtree(node: Node) -> Iterator[Node]:
    """Yield the node and everything below it, parents first, siblings in start order."""
    unvisited = [node]
    while unvisited:
        node = unvisited.pop()
        yield node
        if isinstance(node, Supervisor):
            unvisited.extend(reversed(node.children))
