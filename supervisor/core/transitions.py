"""THE TABLE: what one segment does in each phase about each thing that can happen to it.

A rule sees one segment, one input and the time, and answers with a `Move`: the state that follows,
the orders to give, and what its supervisor must settle. It never looks at siblings or parents and
never changes anything; that is the work of `couplings.py`. Every combination has a cell. If you
want an `if phase is ...` elsewhere, a cell of this table is wrong.

Three kinds of input meet here:

- news about a life (`Started`, `Ready`, `Exited`, `Unresponsive`). It was checked before that the
  news is about the latest incarnation; where that life is already over, the cell is `old`;
- what the supervisor says: your turn has come, you must go, your deadline has passed;
- what a person asks: start, stop, restart.

Every start goes through `Idle` and `TurnCame`. A rule that wants a new life at once answers `Idle`
with `Then.BEGIN`, and the supervisor gives the turn, now or when it brings its children up. So
there is one door into a life, and the incarnation grows in one place.

Read next: docs/semantics.md, section 2 (the same table in prose), `couplings.py` (what follows).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Any, NamedTuple

from supervisor.core.actions import Action, Kill, Release, Report, ReportCode, Start, Stop
from supervisor.core.causes import (
    adjustments_of,
    after_healthy_run,
    quota_of,
    restarts_in_row,
)
from supervisor.core.events import (
    Exited,
    ExitKind,
    ExitReason,
    LifeEvent,
    Ready,
    RestartRequested,
    Started,
    StartRequested,
    StopRequested,
    Unresponsive,
)
from supervisor.core.spec import Kind, Restart
from supervisor.core.state import (
    BackingOff,
    Ended,
    Ending,
    Idle,
    Killing,
    Phase,
    Running,
    SegmentState,
    Starting,
    Stopping,
    Waiting,
    Why,
)
from supervisor.core.tree import Segment
from supervisor.errors import IllegalEvent

KILL_AGAIN_S = 5.0
"""A kill whose exit is missing is ordered again after this many seconds."""

IDLE = Idle()


# -------------------------------------------------------------------------- what a supervisor says


@dataclass(frozen=True, slots=True)
class TurnCame:
    """All before it in start order have started.

    Args:
        cleared: everything named in `after` is fulfilled.
    """

    cleared: bool


@dataclass(frozen=True, slots=True)
class MustGo:
    """Its supervisor restarts its group (`Why.GROUP`) or goes down (`Why.SHUTDOWN`)."""

    why: Why


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The deadline of its present phase is due."""


Input = (
    LifeEvent
    | StartRequested
    | StopRequested
    | RestartRequested
    | TurnCame
    | MustGo
    | DeadlinePassed
)


# ------------------------------------------------------------------------------ what a rule answers


class Then(Enum):
    """What the supervisor must settle after a move."""

    NOTHING = auto()
    BEGIN = auto()
    """It wants a new life at once."""
    DECIDE = auto()
    """A life ended that nobody asked to end: rest, restart or give up."""


class Reply(NamedTuple):
    """What a person is told; see `actions.Answer`."""

    ok: bool
    code: str
    text: str


class Move(NamedTuple):
    """What follows from one input.

    Args:
        state: the segment's next state; the same object when nothing changed.
        actions: orders, in order.
        then: what is left for the supervisor.
        reply: what the person is told, when a person asked.
    """

    state: SegmentState
    actions: tuple[Action, ...] = ()
    then: Then = Then.NOTHING
    reply: Reply | None = None


def move(segment: Segment, event: Input, now_s: float) -> Move:
    """Look the segment's phase and the input up in the table and apply the rule found there.

    Raises:
        IllegalEvent: the supervisor said something that cannot be in this phase: a bug of ours.
    """
    rule = _RULES[type(event), type(segment.state.phase)]
    return rule(segment, event, now_s)


# -------------------------------------------------------------------------------- rules: no change


def stay(segment: Segment, event: Input, now_s: float) -> Move:  # noqa: ARG001
    """Known already, or of no consequence here."""
    return Move(segment.state)


def old(segment: Segment, event: LifeEvent, now_s: float) -> Move:  # noqa: ARG001
    """News about a life that is over: dropped, and counted by its report."""
    return Move(segment.state, (stale(segment, event),))


def never(segment: Segment, event: Input, now_s: float) -> Move:  # noqa: ARG001
    """Cannot be; a supervisor that says this is broken."""
    raise IllegalEvent(
        f"{segment.path} is {type(segment.state.phase).__name__} and was told {event}",
        hint="this is a bug; please report it with the output of `psup events`",
    )


def stale(segment: Segment, event: LifeEvent) -> Report:
    """Return the report that counts a piece of old news."""
    return Report(
        ReportCode.STALE_EVENT,
        segment.path,
        f"{type(event).__name__} of incarnation {event.incarnation} came after its end",
    )


# ---------------------------------------------------------------------------------- rules: a life


def turn(segment: Segment, event: TurnCame, now_s: float) -> Move:
    """Begin the next life, or wait for what `after` names."""
    state = segment.state
    if not event.cleared:
        if type(state.phase) is Waiting:
            return Move(state)
        return Move(_in_phase(state, Waiting(now_s)))
    incarnation = state.incarnation + 1
    starting = SegmentState(
        Starting(now_s, now_s + segment.spec.start_timeout_s),
        incarnation,
        state.wanted,
        state.streak,
        state.restarts,
        state.restart_count,
        state.last_exit,
        state.tries,
        state.once,
        state.once_for,
    )
    return Move(starting, (start_order(segment, starting),))


def start_order(segment: Segment, state: SegmentState) -> Start:
    """Return the order that begins the life of a starting segment; the same on every call."""
    return Start(
        segment.path,
        state.incarnation,
        restarts_in_row(segment.spec, state) + 1,
        state.last_exit,
        adjustments_of(segment.spec, state, state.incarnation),
    )


def run(segment: Segment, event: Ready, now_s: float) -> Move:  # noqa: ARG001
    """Ready: from now on only the time quota is a deadline."""
    time_s = quota_of(segment.spec, segment.state).time_s
    deadline_s = None if time_s is None else now_s + time_s
    return Move(_in_phase(segment.state, Running(now_s, deadline_s)))


def died(segment: Segment, event: Exited, now_s: float) -> Move:
    """Ended without being asked."""
    state = _after_run(segment, now_s, event.reason)
    return Move(_over(state, event.reason), then=Then.DECIDE)


def slow(segment: Segment, event: DeadlinePassed, now_s: float) -> Move:  # noqa: ARG001
    """Not ready in time."""
    text = f"not ready {segment.spec.start_timeout_s:g}s after the start was ordered"
    report = Report(ReportCode.START_TIMED_OUT, segment.path, text)
    return _stop(segment, segment.state, Why.START_TIMEOUT, now_s, report)


def late(segment: Segment, event: DeadlinePassed, now_s: float) -> Move:  # noqa: ARG001
    """Used up its time quota. That was no healthy run, however long it was."""
    time_s = quota_of(segment.spec, segment.state).time_s
    text = f"still running at the end of its time quota of {time_s:g}s"
    report = Report(ReportCode.DEADLINE_PASSED, segment.path, text)
    return _stop(segment, segment.state, Why.DEADLINE, now_s, report)


def hang(segment: Segment, event: Unresponsive, now_s: float) -> Move:
    """Alive, but no longer answering."""
    report = Report(ReportCode.UNRESPONSIVE, segment.path, event.detail or "no longer answers")
    state = _after_run(segment, now_s, _FAILURES[Why.HANG])
    return _stop(segment, state, Why.HANG, now_s, report)


# ----------------------------------------------------------------------------- rules: being stopped


def go(segment: Segment, event: MustGo, now_s: float) -> Move:
    """Stop, for the supervisor."""
    return _stop(segment, _after_run(segment, now_s), event.why, now_s)


def heed(segment: Segment, event: MustGo, now_s: float) -> Move:  # noqa: ARG001
    """Being stopped already: from now on for the supervisor, unless a person's stop stands."""
    if _why(segment) is Why.USER_STOP:
        return Move(segment.state)
    return Move(_because(segment.state, event.why))


def rest(segment: Segment, event: MustGo, now_s: float) -> Move:  # noqa: ARG001
    """Nothing lives: what was scheduled is called off."""
    return Move(_in_phase(segment.state, IDLE))


def fold(segment: Segment, event: MustGo, now_s: float) -> Move:  # noqa: ARG001
    """A completed child runs again with its group; all others that rest go on resting."""
    completed = _ending(segment) is Ending.COMPLETED
    if event.why is Why.GROUP and completed and segment.spec.restart is not Restart.TEMPORARY:
        return Move(_in_phase(segment.state, IDLE))
    return Move(segment.state)


def kill(segment: Segment, event: DeadlinePassed, now_s: float) -> Move:  # noqa: ARG001
    """The grace is over."""
    text = f"did not go within {segment.spec.shutdown.grace_s:g}s of the stop signal; killed"
    report = Report(ReportCode.GRACE_PASSED, segment.path, text)
    killing = Killing(now_s, now_s + KILL_AGAIN_S, _why(segment))
    order = Kill(segment.path, segment.state.incarnation)
    return Move(_in_phase(segment.state, killing), (report, order))


def again(segment: Segment, event: DeadlinePassed, now_s: float) -> Move:  # noqa: ARG001
    """Killed, and still no exit: kill once more."""
    phase = segment.state.phase
    assert isinstance(phase, Killing)
    killing = Killing(phase.since_s, now_s + KILL_AGAIN_S, phase.why)
    order = Kill(segment.path, segment.state.incarnation)
    return Move(_in_phase(segment.state, killing), (order,))


def gone(segment: Segment, event: Exited, now_s: float) -> Move:
    """A life that was asked to end has ended; why it was asked decides what follows."""
    why = _why(segment)
    if why in _FAILURES:
        # The cause is ours to say: what it reported on its way out was the effect of our stop.
        return Move(_over(segment.state, _FAILURES[why]), then=Then.DECIDE)
    finished = segment.spec.kind is Kind.TASK and event.reason.kind is ExitKind.COMPLETED
    over = _over(segment.state, event.reason if finished else _STOPPED)
    if why is Why.USER_RESTART:
        return Move(over, then=Then.BEGIN)
    if why is Why.GROUP and segment.spec.restart is not Restart.TEMPORARY:
        return Move(over)
    return _laid_down(segment, over, now_s, finished=finished)


def _laid_down(segment: Segment, over: SegmentState, now_s: float, *, finished: bool) -> Move:
    """Return the move of a stopped segment that does not come back by itself."""
    release = Release(segment.path, over.incarnation)
    if finished and segment.spec.restart is not Restart.PERMANENT:
        return Move(_in_phase(over, Ended(now_s, Ending.COMPLETED)), (release,))
    match _why(segment):
        case Why.GROUP:
            text = "temporary, stopped with its group; it is not started again"
            dropped = Report(ReportCode.TEMPORARY_DROPPED, segment.path, text)
            return Move(_in_phase(over, Ended(now_s, Ending.DROPPED)), (dropped, release))
        case Why.USER_STOP:
            return Move(over, (release,))
        case _:
            # Its supervisor goes down; that releases all its segments if it is to stay down.
            return Move(over)


# --------------------------------------------------------------------------- rules: a second chance


def retry(segment: Segment, event: DeadlinePassed, now_s: float) -> Move:  # noqa: ARG001
    """The backoff is over."""
    return Move(_in_phase(segment.state, IDLE), then=Then.BEGIN)


# -------------------------------------------------------------------------- rules: a person's stop


def leave(segment: Segment, event: StopRequested, now_s: float) -> Move:  # noqa: ARG001
    """Stop, and stay down until a person says otherwise."""
    state = replace(_after_run(segment, now_s), wanted=False)
    stop = _stop(segment, state, Why.USER_STOP, now_s)
    return stop._replace(reply=Reply(True, "ok", "stopping"))


def yields(segment: Segment, event: StopRequested, now_s: float) -> Move:  # noqa: ARG001
    """Being stopped already: it will not come back. The kill deadline stands as it is."""
    state = replace(segment.state, wanted=False)
    if _why(segment) not in {Why.GROUP, Why.SHUTDOWN}:
        state = _because(state, Why.USER_STOP)
    return Move(state, reply=Reply(True, "ok", "being stopped already; it will stay down"))


def cancel(segment: Segment, event: StopRequested, now_s: float) -> Move:  # noqa: ARG001
    """Nothing lives: what was scheduled is called off for good."""
    state = replace(segment.state, phase=IDLE, wanted=False)
    release = Release(segment.path, state.incarnation)
    return Move(state, (release,), reply=Reply(True, "ok", "its next start is called off"))


def remain(segment: Segment, event: StopRequested, now_s: float) -> Move:  # noqa: ARG001
    """At rest already: stay so, also when its supervisor starts anew."""
    reply = Reply(True, "already_stopped", "was not running; it will stay down")
    if not segment.state.wanted:
        return Move(segment.state, reply=reply)
    return Move(replace(segment.state, wanted=False), reply=reply)


# --------------------------------------------------------------- rules: a person's start or restart


def begin(segment: Segment, event: Input, now_s: float) -> Move:  # noqa: ARG001
    """Nothing lives: begin at once. No counter is touched."""
    state = replace(segment.state, phase=IDLE, wanted=True)
    return Move(state, then=Then.BEGIN, reply=Reply(True, "ok", "starting"))


def waits(segment: Segment, event: Input, now_s: float) -> Move:  # noqa: ARG001
    """Its turn has come already; it starts as soon as `after` allows."""
    return Move(segment.state, reply=waiting_reply(segment))


def waiting_reply(segment: Segment) -> Reply:
    """Return what a person is told about a segment that waits for others."""
    missing = ", ".join(one.path for one in segment.prerequisites if not one.fulfils)
    return Reply(True, "waiting", f"waits for {missing}")


def refuse(segment: Segment, event: StartRequested, now_s: float) -> Move:  # noqa: ARG001
    """There is nothing to start."""
    reply = Reply(False, "already_running", f"{segment.path} is already running")
    return Move(segment.state, reply=reply)


def renew(segment: Segment, event: RestartRequested, now_s: float) -> Move:  # noqa: ARG001
    """End this life; the next begins when it is gone."""
    state = replace(_after_run(segment, now_s), wanted=True)
    stop = _stop(segment, state, Why.USER_RESTART, now_s)
    return stop._replace(reply=Reply(True, "ok", "restarting"))


def revive(segment: Segment, event: Input, now_s: float) -> Move:  # noqa: ARG001
    """Being stopped: begin again when it is gone, at once or with its group."""
    state = replace(segment.state, wanted=True)
    if _why(segment) in {Why.GROUP, Why.SHUTDOWN}:
        reply = Reply(True, "ok", "being stopped by its supervisor; it starts again with it")
        return Move(state, reply=reply)
    reply = Reply(True, "ok", "being stopped; it starts again when it is gone")
    return Move(_because(state, Why.USER_RESTART), reply=reply)


# ------------------------------------------------------------------------------------- the table

Rule = Callable[[Segment, Any, float], Move]
"""`Any`: each rule names the one input that its row of the table can hand to it."""

COLUMNS = (Idle, Waiting, Starting, Running, Stopping, Killing, BackingOff, Ended)

# fmt: off
TABLE: Mapping[type[Input], tuple[Rule, ...]] = {
    #                  Idle    Waiting  Starting  Running  Stopping  Killing  BackingOff  Ended
    Started:          (old,    old,     stay,     stay,    stay,     stay,    old,        old),
    Ready:            (old,    old,     run,      stay,    stay,     stay,    old,        old),
    Exited:           (old,    old,     died,     died,    gone,     gone,    old,        old),
    Unresponsive:     (old,    old,     stay,     hang,    stay,     stay,    old,        old),

    TurnCame:         (turn,   turn,    never,    never,   never,    never,   never,      never),
    MustGo:           (stay,   rest,    go,       go,      heed,     heed,    rest,       fold),
    DeadlinePassed:   (never,  never,   slow,     late,    kill,     again,   retry,      never),

    StopRequested:    (remain, cancel,  leave,    leave,   yields,   yields,  cancel,     remain),
    StartRequested:   (begin,  waits,   refuse,   refuse,  revive,   revive,  begin,      begin),
    RestartRequested: (begin,  waits,   renew,    renew,   revive,   revive,  begin,      begin),
}
# fmt: on

_RULES: Mapping[tuple[type[Input], type[Phase]], Rule] = {
    (event, phase): rule
    for event, row in TABLE.items()
    for phase, rule in zip(COLUMNS, row, strict=True)
}


# ------------------------------------------------------------------------------ parts of the rules


def _stop(
    segment: Segment, state: SegmentState, why: Why, now_s: float, report: Report | None = None
) -> Move:
    """Ask the body to go, or kill it at once when it has no grace."""
    grace_s = segment.spec.shutdown.grace_s
    order: Stop | Kill
    phase: Phase
    if grace_s == 0:
        order = Kill(segment.path, state.incarnation)
        phase = Killing(now_s, now_s + KILL_AGAIN_S, why)
    else:
        order = Stop(segment.path, state.incarnation)
        phase = Stopping(now_s, None if grace_s is None else now_s + grace_s, why)
    actions = (order,) if report is None else (report, order)
    return Move(_in_phase(state, phase), actions)


def _after_run(segment: Segment, now_s: float, reason: ExitReason | None = None) -> SegmentState:
    """Return the state with what a healthy run earned: it ends the rows of restarts.

    Args:
        segment: that has run.
        now_s: when the run ends.
        reason: why, if nobody asked it to end.
    """
    state = segment.state
    phase = state.phase
    if type(phase) is not Running or now_s - phase.since_s < segment.spec.backoff.reset_after_s:
        return state
    if not (state.streak or state.restarts or state.tries):
        return state
    budget = segment.spec.budget
    ageless = budget is not None and budget.max_seconds is None
    return replace(
        state,
        streak=0,
        restarts=() if ageless else state.restarts,
        tries=after_healthy_run(segment.spec, state.tries, reason),
    )


def _in_phase(state: SegmentState, phase: Phase) -> SegmentState:
    # Spelled out: `dataclasses.replace` takes four times as long, and every step comes here.
    return SegmentState(
        phase,
        state.incarnation,
        state.wanted,
        state.streak,
        state.restarts,
        state.restart_count,
        state.last_exit,
        state.tries,
        state.once,
        state.once_for,
    )


def _over(state: SegmentState, reason: ExitReason) -> SegmentState:
    """Return the state of a segment whose life has just ended."""
    return SegmentState(
        IDLE,
        state.incarnation,
        state.wanted,
        state.streak,
        state.restarts,
        state.restart_count,
        reason,
        state.tries,
        state.once,
        state.once_for,
    )


def _why(segment: Segment) -> Why:
    phase = segment.state.phase
    assert isinstance(phase, Stopping | Killing)
    return phase.why


def _ending(segment: Segment) -> Ending:
    phase = segment.state.phase
    assert isinstance(phase, Ended)
    return phase.how


def _because(state: SegmentState, why: Why) -> SegmentState:
    """Return the state of a segment that is being stopped for another reason than before."""
    match state.phase:
        case Stopping(since_s, kill_at_s, before) if before is not why:
            return _in_phase(state, Stopping(since_s, kill_at_s, why))
        case Killing(since_s, again_at_s, before) if before is not why:
            return _in_phase(state, Killing(since_s, again_at_s, why))
        case _:
            return state


_FAILURES = {
    Why.DEADLINE: ExitReason(ExitKind.DEADLINE),
    Why.START_TIMEOUT: ExitReason(ExitKind.START_TIMEOUT),
    Why.HANG: ExitReason(ExitKind.HANG),
}
"""Stops that are themselves the cause of the exit."""

_STOPPED = ExitReason(ExitKind.STOPPED)
