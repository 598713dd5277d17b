"""What a person asks for: start, stop, restart, down. Every request is answered in its own step.

A person's stop is sticky, a person's start takes it back, and neither of them, nor a restart,
touches a counter. A start below a supervisor that is down brings up the highest such supervisor
as a whole, in order: a segment never runs outside its tree. Decides nothing about lives; the table
and the couplings do. Read next: docs/semantics.md, section 8.
"""

from __future__ import annotations

from dataclasses import replace

from supervisor.core.actions import Answer, Halt
from supervisor.core.couplings import DOWN, dismiss, offer_turn, take_down, tell
from supervisor.core.draft import Draft
from supervisor.core.events import (
    DrainRequested,
    Request,
    RestartRequested,
    StartRequested,
    StopRequested,
)
from supervisor.core.restarts import release_below
from supervisor.core.spec import Adjustments
from supervisor.core.state import (
    Ended,
    Ending,
    GoingDown,
    Idle,
    Killing,
    Stopping,
    SupervisorBackingOff,
    SupervisorEnded,
    Waiting,
    Why,
)
from supervisor.core.transitions import Reply, Then, waiting_reply
from supervisor.core.tree import Node, Segment, Supervisor, is_below, lets_begin


def obey(draft: Draft, event: Request) -> None:
    """Do what a person asks, or refuse it, and say which."""
    reply = _reply_to(draft, event)
    if event.request:
        draft.actions.append(Answer(event.request, reply.ok, reply.code, reply.text))


def _reply_to(draft: Draft, event: Request) -> Reply:
    root = draft.tree.root
    node = root if isinstance(event, DrainRequested) else draft.tree.nodes.get(event.path)
    if node is None:
        return Reply(False, "no_such_target", f"{root.path} has no node of that path")
    if isinstance(event, DrainRequested):
        return _drain(draft, root)
    if any(is_below(node, leaving) for leaving in draft.tree.leaving):
        return Reply(False, "leaving", f"{node.path} is being removed from {root.path}")
    return _reply_about(draft, node, event)


def _reply_about(
    draft: Draft, node: Node, event: StopRequested | StartRequested | RestartRequested
) -> Reply:
    root = draft.tree.root
    if isinstance(event, StopRequested):
        return stop_node(draft, node, event.request)
    if _why_going_down(root) is Why.SHUTDOWN:
        return Reply(False, "going_down", f"{root.path} is going down")
    if not isinstance(event, RestartRequested):
        return _start(draft, node, event)
    stopping = _being_stopped(node)
    if stopping is not None:
        text = f"{stopping.path} is being stopped; a start makes it start again when it is gone"
        return Reply(False, "being_stopped", text)
    return _restart(draft, node, event)


def _being_stopped(node: Node) -> Node | None:
    """Return the node that a person's stop is taking down: this one, or one above it."""
    above: Node | None = node
    while above is not None:
        phase = above.state.phase
        if isinstance(phase, Stopping | Killing | GoingDown) and phase.why is Why.USER_STOP:
            return above
        above = above.parent
    return None


# --------------------------------------------------------------------------------- down and stop


def _drain(draft: Draft, root: Supervisor) -> Reply:
    if root.active:
        take_down(draft, root, Why.SHUTDOWN)
        return Reply(True, "ok", "going down")
    if root.lives:
        dismiss(draft, root, Why.SHUTDOWN)
        return Reply(True, "ok", "going down already")
    draft.actions.append(Halt(failed=False))
    return Reply(True, "already_stopped", "is down already")


def stop_node(draft: Draft, node: Node, request: int = 0) -> Reply:
    """Stop a node for a person; it stays down."""
    if isinstance(node, Segment):
        made = tell(draft, node, StopRequested(node.path, request))
        assert made.reply is not None
        return made.reply
    if node.parent is None:
        return _drain(draft, node)
    return _stop_supervisor(draft, node)


def _stop_supervisor(draft: Draft, supervisor: Supervisor) -> Reply:
    want(draft, supervisor, wanted=False)
    if supervisor.active:
        take_down(draft, supervisor, Why.USER_STOP)
        return Reply(True, "ok", "stopping, last child first")
    match supervisor.state.phase:
        case GoingDown(since_s, cursor, why):
            if why not in {Why.GROUP, Why.SHUTDOWN}:
                stopping = GoingDown(since_s, cursor, Why.USER_STOP)
                draft.put_supervisor_phase(supervisor, stopping)
            return Reply(True, "ok", "being stopped already; it will stay down")
        case SupervisorBackingOff():
            draft.put_supervisor_phase(supervisor, DOWN)
            release_below(draft, supervisor)
            return Reply(True, "ok", "its next start is called off")
        case _:
            return Reply(True, "already_stopped", "was not running; it will stay down")


# -------------------------------------------------------------------------------- start and restart


def _start(draft: Draft, node: Node, event: StartRequested | RestartRequested) -> Reply:
    """Start or restart a node; first of all everything above it must be up."""
    obstacle = _highest_inactive(node)
    if obstacle is not None:
        return _summon(draft, obstacle, node)
    restarts = isinstance(event, RestartRequested)
    if restarts and node.lives and not lets_begin(node):
        want(draft, node, wanted=True)
        return Reply(True, "ok", "being restarted with its group already")
    if isinstance(node, Segment):
        return _start_segment(draft, node, event)
    if restarts:
        want(draft, node, wanted=True)
        take_down(draft, node, Why.USER_RESTART)
        return Reply(True, "ok", "restarting, with everything below")
    if node.state.failed:
        return _take_up_again(draft, node)
    return Reply(False, "already_running", f"{node.path} is already running")


def _restart(draft: Draft, node: Node, event: RestartRequested) -> Reply:
    """Restart a node; a segment's next life may get something for itself."""
    if not isinstance(node, Segment):
        if event.adjustments is None:
            return _start(draft, node, event)
        return Reply(False, "not_a_segment", f"{node.path} is no segment; name the one you mean")
    before = node.state
    _give_once(draft, node, event.adjustments)
    reply = _start(draft, node, event)
    if not reply.ok and node.state is not before:
        draft.put(node, before)  # a refusal changes nothing
    return reply


def _give_once(draft: Draft, segment: Segment, adjustments: Adjustments | None) -> None:
    """Note what the next life gets, and only that one; a plain restart takes it back."""
    state = segment.state
    is_pending = state.once is not None and state.once_for > state.incarnation
    if adjustments is not None or is_pending:
        given = replace(state, once=adjustments, once_for=state.incarnation + 1)
        draft.put(segment, given)


def _highest_inactive(node: Node) -> Supervisor | None:
    """Return the highest supervisor, the node itself included, that is not up or coming up."""
    highest = None
    above: Node | None = node
    while above is not None:
        if isinstance(above, Supervisor) and not above.active:
            highest = above
        above = above.parent
    return highest


def _summon(draft: Draft, obstacle: Supervisor, node: Node) -> Reply:
    """Bring up a supervisor that is down or going down, because of a node below it."""
    above: Node | None = node
    while above is not obstacle:
        assert above is not None
        want(draft, above, wanted=True)
        above = above.parent
    want(draft, obstacle, wanted=True)
    match obstacle.state.phase:
        case GoingDown(since_s, cursor, why):
            if why is not Why.GROUP:  # that one comes up again without being asked
                again = GoingDown(since_s, cursor, Why.USER_RESTART)
                draft.put_supervisor_phase(obstacle, again)
            return Reply(True, "ok", f"{obstacle.path} starts again as a whole when it is down")
        case _:
            draft.put_supervisor_phase(obstacle, DOWN)
            offer_turn(draft, obstacle)
            when = "is starting" if obstacle.active else "starts when its turn comes"
            return Reply(True, "ok", f"all of {obstacle.path} {when}")


def _start_segment(
    draft: Draft, segment: Segment, event: StartRequested | RestartRequested
) -> Reply:
    given_up = _is_given_up(segment)
    made = tell(draft, segment, event)
    assert made.reply is not None
    if given_up:
        _forgive(draft, segment.parent)
    if made.then is Then.BEGIN:
        if type(segment.state.phase) is Waiting:
            return waiting_reply(segment)
        if type(segment.state.phase) is Idle:
            return Reply(True, "ok", "starts when its turn comes")
    return made.reply


def _take_up_again(draft: Draft, root: Supervisor) -> Reply:
    """Start again what the root gave up; all others go on."""
    _forgive(draft, root)
    for child in root.children:
        if not _is_given_up(child):
            continue
        if isinstance(child, Segment):
            tell(draft, child, StartRequested(child.path))
        else:
            _summon(draft, child, child)
    return Reply(True, "ok", "starting again what was given up")


def _is_given_up(node: Node) -> bool:
    phase = node.state.phase
    return isinstance(phase, Ended | SupervisorEnded) and phase.how is Ending.GAVE_UP


def _forgive(draft: Draft, supervisor: Supervisor) -> None:
    """A person takes up what the root gave up: the pipeline counts as failed no more."""
    if supervisor.state.failed:
        draft.put_supervisor(supervisor, replace(supervisor.state, failed=False))


def start_node(draft: Draft, node: Node) -> Reply:
    """Start a node for a person, who takes an earlier stop back."""
    return _start(draft, node, StartRequested(node.path))


def want(draft: Draft, node: Node, *, wanted: bool) -> None:
    """Note what a person wants of a node, and do nothing about it."""
    if node.state.wanted is wanted:
        return
    if isinstance(node, Segment):
        draft.put(node, replace(node.state, wanted=wanted))
    else:
        draft.put_supervisor(node, replace(node.state, wanted=wanted))


def _why_going_down(root: Supervisor) -> Why | None:
    phase = root.state.phase
    return phase.why if isinstance(phase, GoingDown) else None
