"""The pure core's face: one event in, one decision out. Same tree, event and time: same answer.

    made = boot(spec, now_s)
    while True:
        save(made)                     # states of made.changed and the evidence, one transaction
        act(made.actions)              # each repeatable by (path, incarnation)
        event = wait_until(next_deadline(made.tree)) or Tick()
        made = step(made.tree, event, now_s)

Save, then act. If saving fails, `rollback` takes the step back as if it had not been. If the
process dies between the two, `restore` and `outstanding` give again every order whose outcome is
missing. The tree is changed in place, and each step keeps what it replaced, because copying a
hundred thousand states to change two would cost more than everything else together.

How a decision comes about:

1. the event goes to one segment (`transitions.py`: THE TABLE) or to one request (`requests.py`);
2. an exit that nobody asked for is decided by its supervisor (`restarts.py`);
3. what follows for siblings and parents is a set of rules run to a fixed point (`couplings.py`).

Must never: read a clock, draw a random number, do I/O, log, or look at nodes that did not change.
Read next: `transitions.py`, `couplings.py`; the contract in prose is docs/semantics.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from supervisor.core.actions import Action, Adopt, Answer, Halt, Kill, Report, ReportCode, Stop
from supervisor.core.codec import decode_state
from supervisor.core.couplings import DOWN, bring_up, offer_turn, settle, tell
from supervisor.core.draft import Draft, Step
from supervisor.core.events import (
    Event,
    Exited,
    LifeEvent,
    Ready,
    Started,
    Tick,
    Unresponsive,
)
from supervisor.core.reconfigure import conclude, take_up_change
from supervisor.core.requests import obey
from supervisor.core.spec import Path, SupervisorSpec
from supervisor.core.state import (
    Down,
    Ending,
    Killing,
    Running,
    Starting,
    Stopping,
    SupervisorBackingOff,
    SupervisorEnded,
)
from supervisor.core.transitions import DeadlinePassed, stale, start_order
from supervisor.core.tree import Segment, Tree
from supervisor.errors import IllegalEvent, SpecError

_NONE: Mapping[Path, int] = {}


def boot(
    spec: SupervisorSpec,
    now_s: float,
    incarnations: Mapping[Path, int] = _NONE,
    *,
    strict: bool = False,
) -> Step:
    """Begin a new launch: the root comes up, its first child is started.

    Args:
        spec: the pipeline.
        now_s: seconds of the driver's steady clock, as in every `step`.
        incarnations: the highest number ever used for a path, so that numbers never repeat.
        strict: see `Tree`.
    """
    tree = Tree(spec, strict=strict)
    for path, incarnation in incarnations.items():
        node = tree.nodes.get(path)
        if isinstance(node, Segment):
            node.state = replace(node.state, incarnation=incarnation)
    draft = Draft(tree, now_s)
    # A first snapshot holds every node, so all of them count as changed.
    draft.before.update(tree.states)
    bring_up(draft, tree.root, keeps_counters=False)
    settle(draft)
    return draft.finish()


def restore(
    spec: SupervisorSpec,
    states: Mapping[Path, Mapping[str, Any]],
    *,
    declared: SupervisorSpec | None = None,
    strict: bool = False,
) -> Tree:
    """Return the tree as it was when these states (`codec.encode_state`) were saved.

    Args:
        spec: everything that stands in the tree.
        states: of every node.
        declared: what the tree shall be; None when no change was under way.
        strict: see `Tree`.

    Raises:
        SpecError: the states are those of another tree.
    """
    tree = Tree(spec, declared=declared, strict=strict)
    if states.keys() != tree.nodes.keys():
        strangers = ", ".join(sorted(states.keys() ^ tree.nodes.keys()))
        raise SpecError(f"saved states do not fit {spec.name}: {strangers}")
    for path, node in tree.nodes.items():
        state = decode_state(states[path])
        if type(state) is not type(node.state):
            raise SpecError(f"the saved state of {path} is that of another kind of node")
        tree.reinstate(node, state)
    if declared is not None:
        take_up_change(tree)
    return tree


def step(tree: Tree, event: Event, now_s: float) -> Step:
    """Decide what follows from one event.

    Raises:
        IllegalEvent: in a strict tree, the event cannot be; otherwise it is reported and dropped.
    """
    draft = Draft(tree, now_s)
    try:
        match event:
            case Started() | Ready() | Exited() | Unresponsive():
                _hear(draft, event)
            case Tick():
                _fire_deadlines(draft)
            case _:
                obey(draft, event)
        settle(draft)
    except IllegalEvent as error:
        rollback(tree, draft.finish())
        if tree.strict:
            raise
        return _refuse(tree, event, error)
    return conclude(draft) if tree.is_changing else draft.finish()


def next_deadline(tree: Tree) -> float | None:
    """Return the time at which a `Tick` must come at the latest, None when none is needed."""
    return tree.next_deadline()


def outstanding(tree: Tree) -> tuple[Action, ...]:
    """Return the orders whose outcome is missing, in start order; for a daemon that starts anew."""
    orders: list[Action] = []
    for node in tree.nodes.values():
        if isinstance(node, Segment):
            orders.extend(_orders_in_flight(node))
    root = tree.root.state.phase
    if isinstance(root, Down | SupervisorEnded):
        gave_up = isinstance(root, SupervisorEnded) and root.how is Ending.GAVE_UP
        orders.append(Halt(failed=gave_up))
    return tuple(orders)


def rollback(tree: Tree, undone: Step) -> Tree:
    """Take the latest step back; it could not be saved, so it never was.

    Returns:
        The tree to go on with: the same one, unless the step had put another in its place.
    """
    before = tree if undone.previous is None else undone.previous
    for path, state in undone.before.items():
        before.reinstate(before.nodes[path], state)
    return before


# ----------------------------------------------------------------------------------------- inside


def _hear(draft: Draft, event: LifeEvent) -> None:
    """Pass news on to its segment, unless it is about a life that is not the latest."""
    segment = draft.tree.nodes.get(event.path)
    if not isinstance(segment, Segment):
        raise IllegalEvent(f"{event} is about no segment of {draft.tree.root.path}")
    latest = segment.state.incarnation
    if event.incarnation > latest:
        raise IllegalEvent(f"{event} is about a life that was never started; latest is {latest}")
    if event.incarnation < latest:
        draft.actions.append(stale(segment, event))
        return
    tell(draft, segment, event)


def _fire_deadlines(draft: Draft) -> None:
    """Fire all that is due, earliest first; each sees what the ones before it changed."""
    while (node := draft.tree.take_due(draft.now_s)) is not None:
        if isinstance(node, Segment):
            tell(draft, node, DeadlinePassed())
        elif isinstance(node.state.phase, SupervisorBackingOff):
            draft.put_supervisor_phase(node, DOWN)
            offer_turn(draft, node)
        else:
            draft.unsettled[node] = None  # the hold-off of a group restart is over
        settle(draft)


def _orders_in_flight(segment: Segment) -> tuple[Action, ...]:
    life = (segment.path, segment.state.incarnation)
    match segment.state.phase:
        case Starting():
            return (start_order(segment, segment.state),)
        case Running():
            return (Adopt(*life),)
        case Stopping():
            return (Adopt(*life), Stop(*life))
        case Killing():
            return (Adopt(*life), Kill(*life))
        case _:
            return ()


def _refuse(tree: Tree, event: Event, error: IllegalEvent) -> Step:
    """Return a step that changes nothing and says why."""
    path = getattr(event, "path", tree.root.path)
    actions: list[Action] = [Report(ReportCode.ILLEGAL_EVENT, path, error.message)]
    request = getattr(event, "request", 0)
    if request:
        actions.append(Answer(request, ok=False, code="illegal_event", text=error.message))
    return Step(tree, tuple(actions), (), {})
