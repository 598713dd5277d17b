"""What is true of every tree between two steps, whatever happened before.

Tests call `violations` after every step; nothing in production does. Each sentence here is one that
docs/semantics.md promises; together they say that starts happen in order, stops in reverse, nobody
is forgotten and nobody is revived. Read next: `couplings.py`, which keeps these true.
"""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.core.state import (
    BackingOff,
    BringingUp,
    GoingDown,
    Killing,
    Recycling,
    Stopping,
    SupervisorBackingOff,
    Waiting,
    Why,
)
from supervisor.core.tree import (
    Node,
    Segment,
    Supervisor,
    Tree,
    could_begin,
    deadline_of,
    lets_begin,
)

_FORGOTTEN = "was forgotten: it could begin, is wanted, and nothing will start it"


def violations(tree: Tree) -> list[str]:
    """Return a sentence for everything that must not be; empty when the tree is sound."""
    found = []
    for node in tree.nodes.values():
        rules = _of_segment(node) if isinstance(node, Segment) else _of_supervisor(node)
        found += [f"{node.path}: {sentence}" for sentence in rules]
    # A newcomer waits for those before it; nobody has forgotten it.
    coming = {f"{node.path}: {_FORGOTTEN}" for node in tree.joining}
    found = [sentence for sentence in found if sentence not in coming]
    return found + list(_of_deadlines(tree))


def _of_segment(segment: Segment) -> Iterator[str]:
    phase = segment.state.phase
    yield from _of_child(segment)
    if isinstance(phase, Waiting) and lets_begin(segment) and segment.cleared:
        yield "waits although everything named in `after` is fulfilled"
    if segment.lives and segment.state.incarnation == 0:
        yield "lives without an incarnation"
    if not segment.state.wanted and not isinstance(phase, Stopping | Killing) and segment.lives:
        yield "runs although a person stopped it"
    if not segment.state.wanted and isinstance(phase, Waiting | BackingOff):
        yield "is scheduled although a person stopped it"
    if isinstance(phase, Stopping | Killing):
        above = segment.parent.state.phase
        # One that was moved to the left meanwhile is told of a shutdown when its turn has come.
        if phase.why is Why.GROUP and not isinstance(above, Recycling | GoingDown):
            yield "is stopped for a group restart that is not under way"
        if phase.why is Why.SHUTDOWN and not isinstance(above, GoingDown):
            yield "is stopped for a shutdown that is not under way"


def _of_child(child: Node) -> Iterator[str]:
    if could_begin(child):
        yield _FORGOTTEN


def _of_supervisor(supervisor: Supervisor) -> Iterator[str]:
    phase = supervisor.state.phase
    if supervisor.parent is not None:
        yield from _of_child(supervisor)
    if not supervisor.state.wanted and supervisor.active:
        yield "is up although a person stopped it"
    if len(supervisor.state.restarts) > supervisor.spec.max_restarts:
        yield "has restarted more often than its limit allows"
    yield from _of_cursor(supervisor)
    is_down = not supervisor.active and not isinstance(phase, GoingDown)
    if is_down and any(_does_something(child) for child in supervisor.children):
        yield "is down, but something below it is not"
    if supervisor.parent is None and isinstance(phase, SupervisorBackingOff):
        yield "is the root and waits to be restarted by nobody"


def _of_cursor(supervisor: Supervisor) -> Iterator[str]:
    """Yield what is wrong about the order in which children are started or stopped."""
    children = supervisor.children
    match supervisor.state.phase:
        case BringingUp(_, cursor):
            yield from _awaits(supervisor, cursor)
            in_order = supervisor.spec.template is None
            if in_order and any(child.lives for child in children[cursor + 1 :]):
                yield "has started a child before its turn"
        case Recycling(_, first, cursor):
            # Whatever the strategy is now: a group restart ends as it began.
            yield from _awaits_end(supervisor, cursor, first)
        case GoingDown(_, cursor):
            yield from _awaits_end(supervisor, cursor, 0)
        case _:
            pass


def _does_something(child: Node) -> bool:
    scheduled = isinstance(child.state.phase, Waiting | BackingOff | SupervisorBackingOff)
    return child.lives or scheduled


def _awaits(supervisor: Supervisor, cursor: int) -> Iterator[str]:
    if not 0 <= cursor < len(supervisor.children):
        yield f"has its cursor at {cursor}, outside its children"
    elif not supervisor.children[cursor].lives:
        yield f"awaits {supervisor.children[cursor].path}, where nothing lives"


def _awaits_end(supervisor: Supervisor, cursor: int, first: int) -> Iterator[str]:
    """Stops go from the right to `first`: right of the cursor nothing lives any more."""
    children = supervisor.children
    if any(child.lives for child in children[max(cursor + 1, first) :]):
        yield "has stopped a child before those that started after it"
    if cursor < first:
        return  # all are gone; the hold-off is awaited
    yield from _awaits(supervisor, cursor)
    if not isinstance(children[cursor].state.phase, Stopping | Killing | GoingDown):
        yield f"awaits the end of {children[cursor].path}, which was not told to go"


def _of_deadlines(tree: Tree) -> Iterator[str]:
    ahead = [at_s for node in tree.nodes.values() if (at_s := deadline_of(node)) is not None]
    soonest = min(ahead, default=None)
    if tree.next_deadline() != soonest:
        yield f"the next deadline is {soonest}, but {tree.next_deadline()} is waited for"
