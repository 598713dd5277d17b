"""The rules that couple a child to its siblings and its supervisor, run until nothing changes.

The table of `transitions.py` moves one segment; everything that follows from it for others is
here, and each rule looks at one supervisor and the one child at its cursor:

- a supervisor that comes up gives the turn to its left-most child that has not had it, and waits;
- one that goes down, or restarts a group, tells its right-most living child to go, and waits;
- when the last of a group is gone and the hold-off is over, it comes up again from there;
- when everything below one that goes down is gone, it has exited, and its own supervisor hears it
  exactly as it would hear a segment.

OTP blocks inside these; a pure core cannot, so each of them is a phase with a cursor, and every
step moves cursors as far as they go. A rule never scans: the work is proportional to what changed.
Read next: `restarts.py` (an exit that nobody asked for), docs/semantics.md, sections 5 to 7.
"""

from __future__ import annotations

from dataclasses import replace

from supervisor.core.actions import Halt, ReportCode
from supervisor.core.draft import Draft
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.restarts import come_to_rest, decide, release_below
from supervisor.core.spec import Restart
from supervisor.core.state import (
    BackingOff,
    BringingUp,
    Down,
    Ended,
    Ending,
    GoingDown,
    Idle,
    Recycling,
    Running,
    SupervisorBackingOff,
    SupervisorEnded,
    Up,
    Waiting,
    Why,
)
from supervisor.core.transitions import IDLE, Input, Move, MustGo, Then, TurnCame, move
from supervisor.core.tree import Node, Segment, Supervisor, lets_begin

DOWN = Down()

_EXITS = {
    Why.GAVE_UP: ExitReason(ExitKind.GAVE_UP),
    Why.FINISHED: ExitReason(ExitKind.COMPLETED),
}
"""Why a supervisor went down by itself, as its parent hears it; clean both times, as in OTP."""

_PASSED = frozenset(
    {Idle, Waiting, Running, BackingOff, Ended, Down, Up, SupervisorBackingOff, SupervisorEnded}
)
"""Phases in which a child has had its turn and the next may have its own."""


# -------------------------------------------------------------------------------------- one child


def tell(draft: Draft, segment: Segment, event: Input) -> Move:
    """Apply the table to one segment and settle what the move leaves for its supervisor."""
    made = move(segment, event, draft.now_s)
    draft.actions.extend(made.actions)
    if made.state is segment.state:
        return made
    draft.put(segment, made.state)
    if made.then is Then.BEGIN:
        offer_turn(draft, segment)
    elif made.then is Then.DECIDE:
        assert made.state.last_exit is not None
        if decide(draft, segment, made.state.last_exit):
            offer_turn(draft, segment)
    if segment.dependents and segment.fulfils:
        _wake_dependents(draft, segment)
    return made


def offer_turn(draft: Draft, child: Node) -> None:
    """Let a child begin now if its supervisor allows; otherwise its turn will come."""
    if lets_begin(child):
        _give_turn(draft, child, keeps_counters=False)


def _give_turn(draft: Draft, child: Node, *, keeps_counters: bool) -> None:
    if isinstance(child, Segment):
        tell(draft, child, TurnCame(child.cleared))
    else:
        bring_up(draft, child, keeps_counters=keeps_counters)


def _wake_dependents(draft: Draft, segment: Segment) -> None:
    """Start those that waited for this segment and now wait for nobody."""
    for dependent in segment.dependents:
        waits = type(dependent.state.phase) is Waiting
        if waits and dependent.cleared and lets_begin(dependent):
            tell(draft, dependent, TurnCame(cleared=True))


def dismiss(draft: Draft, child: Node, why: Why) -> None:
    """Tell a child to go, whatever it is and does; harmless when nothing of it lives."""
    if isinstance(child, Segment):
        tell(draft, child, MustGo(why))
        return
    match child.state.phase:
        case BringingUp() | Up() | Recycling():
            take_down(draft, child, why)
        case GoingDown(since_s, cursor, before) if before not in {Why.USER_STOP, why}:
            draft.put_supervisor_phase(child, GoingDown(since_s, cursor, why))
        case SupervisorBackingOff():
            draft.put_supervisor_phase(child, DOWN)
        case SupervisorEnded(_, Ending.GAVE_UP | Ending.COMPLETED) if (
            why is Why.GROUP and child.spec.restart is not Restart.TEMPORARY
        ):
            draft.put_supervisor_phase(child, DOWN)
        case _:
            pass


# ------------------------------------------------------------------------------- one supervisor


def bring_up(draft: Draft, supervisor: Supervisor, *, keeps_counters: bool) -> None:
    """Start a supervisor and, one after the other, everything below it.

    Without `keeps_counters` all restarts are forgotten, as OTP's `init` does; a person's restart
    keeps them, because it touches no counter.
    """
    state = supervisor.state
    phase = BringingUp(draft.now_s, 0, keeps_counters)
    restarts = state.restarts if keeps_counters else ()
    draft.put_supervisor(
        supervisor,
        replace(
            state,
            phase=phase,
            incarnation=state.incarnation + 1,
            restarts=restarts,
            failed=False,
        ),
    )
    for child in supervisor.children:
        _unfold(draft, child, keeps_counters=keeps_counters)


def _unfold(draft: Draft, child: Node, *, keeps_counters: bool) -> None:
    """Make a child that rests ready for its turn; what a person stopped stays stopped."""
    streak = child.state.streak if keeps_counters else 0
    if isinstance(child, Segment):
        if type(child.state.phase) is Ended or streak != child.state.streak:
            draft.put(child, replace(child.state, phase=IDLE, streak=streak))
    elif type(child.state.phase) is SupervisorEnded or streak != child.state.streak:
        draft.put_supervisor(child, replace(child.state, phase=DOWN, streak=streak))


def take_down(draft: Draft, supervisor: Supervisor, why: Why) -> None:
    """Begin to stop everything below a supervisor, in reverse start order."""
    last = len(supervisor.children) - 1
    draft.put_supervisor_phase(supervisor, GoingDown(draft.now_s, last, why))


def settle(draft: Draft) -> None:
    """Move every cursor that can move, until none can.

    A rule goes as far as it can by itself, so a supervisor is looked at again only when its phase
    has become another one, or when something else has changed below it since.
    """
    while draft.unsettled:
        supervisor = next(iter(draft.unsettled))
        phase = supervisor.state.phase
        match phase:
            case BringingUp():
                _come_up(draft, supervisor, phase)
            case Recycling():
                _recycle(draft, supervisor, phase)
            case GoingDown():
                _go_down(draft, supervisor, phase)
            case _:
                pass
        if type(supervisor.state.phase) is type(phase):
            del draft.unsettled[supervisor]


def _come_up(draft: Draft, supervisor: Supervisor, phase: BringingUp) -> None:
    """Give turns from the cursor on, until a child must be awaited."""
    children = supervisor.children
    cursor = phase.cursor
    if supervisor.spec.template is not None:
        cursor = _come_up_side_by_side(draft, supervisor, phase)
    while supervisor.spec.template is None and cursor < len(children):
        child = children[cursor]
        if is_due(child):
            _give_turn(draft, child, keeps_counters=phase.keeps_counters)
        if not has_had_its_turn(child):
            break
        cursor += 1
    if cursor == len(children):
        draft.put_supervisor_phase(supervisor, Up(draft.now_s))
    elif cursor != phase.cursor:
        moved = BringingUp(phase.since_s, cursor, phase.keeps_counters)
        draft.put_supervisor_phase(supervisor, moved)


def _come_up_side_by_side(draft: Draft, supervisor: Supervisor, phase: BringingUp) -> int:
    """Give every instance its turn; return the position of the last that must be awaited."""
    for child in supervisor.children:
        if is_due(child):
            _give_turn(draft, child, keeps_counters=phase.keeps_counters)
    awaited = (one.position for one in supervisor.children if not has_had_its_turn(one))
    return max(awaited, default=len(supervisor.children))


def has_had_its_turn(child: Node) -> bool:
    """May the next in start order have its own, or must this child be awaited?"""
    return type(child.state.phase) in _PASSED


def is_due(child: Node) -> bool:
    """Has this child not had its turn, and does nobody want it stopped?"""
    phase = type(child.state.phase)
    return child.state.wanted and (phase is Idle or phase is Down)


def _recycle(draft: Draft, supervisor: Supervisor, phase: Recycling) -> None:
    """Stop the group from the right; when it is gone and the hold-off is over, come up again."""
    cursor = _dismiss_from(draft, supervisor, phase.cursor, phase.first, Why.GROUP)
    if cursor < phase.first and draft.now_s >= phase.hold_until_s:
        draft.put_supervisor_phase(supervisor, BringingUp(draft.now_s, phase.first))
    elif cursor != phase.cursor:
        moved = Recycling(phase.since_s, phase.first, cursor, phase.hold_until_s)
        draft.put_supervisor_phase(supervisor, moved)


def _go_down(draft: Draft, supervisor: Supervisor, phase: GoingDown) -> None:
    """Stop everything from the right; when all is gone, the supervisor has exited."""
    cursor = _dismiss_from(draft, supervisor, phase.cursor, 0, Why.SHUTDOWN)
    if cursor < 0:
        _is_down(draft, supervisor, phase.why)
    elif cursor != phase.cursor:
        moved = GoingDown(phase.since_s, cursor, phase.why)
        draft.put_supervisor_phase(supervisor, moved)


def _dismiss_from(draft: Draft, supervisor: Supervisor, cursor: int, first: int, why: Why) -> int:
    """Tell children to go, from `cursor` down to `first`, one after the other.

    Returns:
        The position of the child that is awaited, `first - 1` when none is.
    """
    if supervisor.spec.template is not None:
        for child in reversed(supervisor.children[first : cursor + 1]):
            dismiss(draft, child, why)
    while cursor >= first:
        child = supervisor.children[cursor]
        dismiss(draft, child, why)
        if child.lives:
            break
        cursor -= 1
    return cursor


def _is_down(draft: Draft, supervisor: Supervisor, why: Why) -> None:
    """Nothing below lives any more; why it went down decides what follows."""
    if why in _EXITS:
        _has_exited(draft, supervisor, _EXITS[why])
        return
    if why is Why.GROUP and supervisor.spec.restart is Restart.TEMPORARY:
        text = "temporary, stopped with its group; it is not started again"
        draft.report(ReportCode.TEMPORARY_DROPPED, supervisor, text)
        come_to_rest(draft, supervisor, Ending.DROPPED)
        return
    draft.put_supervisor_phase(supervisor, DOWN)
    if why is Why.USER_RESTART and lets_begin(supervisor):
        bring_up(draft, supervisor, keeps_counters=True)
    elif supervisor.parent is None:
        draft.actions.append(Halt(failed=False))
    elif why is Why.USER_STOP:
        release_below(draft, supervisor)


def _has_exited(draft: Draft, supervisor: Supervisor, reason: ExitReason) -> None:
    """An exited supervisor is to its parent what an exited segment is to it."""
    gave_up = reason.kind is ExitKind.GAVE_UP
    draft.put_supervisor(supervisor, replace(supervisor.state, phase=DOWN, last_exit=reason))
    if supervisor.parent is None:
        how = Ending.GAVE_UP if gave_up else Ending.COMPLETED
        draft.put_supervisor_phase(supervisor, SupervisorEnded(draft.now_s, how))
        if gave_up:
            draft.report(ReportCode.PIPELINE_FAILED, supervisor, "it gave up as a whole")
        draft.actions.append(Halt(failed=gave_up))
        return
    if gave_up:
        text = f"gave up; {supervisor.parent.path} decides"
        draft.report(ReportCode.ESCALATED, supervisor, text)
    if decide(draft, supervisor, reason):
        offer_turn(draft, supervisor)
