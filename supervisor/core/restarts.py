"""The restart decision: a child has exited and nobody asked it to.

Four questions, in this order. Does policy restart it at all (type, `never_on`)? Is it taken along
by a group restart or a shutdown of its supervisor anyway? Is its own budget used up? Is its
supervisor's limit used up? Only then is it restarted: alone, or with its group, after a delay.
Gives no turn itself: `couplings.py` does. Read next: docs/semantics.md, sections 3 to 5.
"""

from __future__ import annotations

from dataclasses import replace

from supervisor.core.actions import Release, ReportCode
from supervisor.core.backoff import delay_s
from supervisor.core.causes import counted, restarts_in_row, rule_for, times
from supervisor.core.draft import Draft
from supervisor.core.events import ExitReason
from supervisor.core.intensity import add_restart, limit_exceeded
from supervisor.core.rate import take
from supervisor.core.spec import OnExit, Strategy
from supervisor.core.state import (
    BackingOff,
    Ended,
    Ending,
    GoingDown,
    Idle,
    Recycling,
    SupervisorBackingOff,
    SupervisorEnded,
    Up,
    Why,
)
from supervisor.core.strategies import ending_after, ends_with, first_to_go
from supervisor.core.tree import Node, Segment, Supervisor, lets_begin, subtree


def decide(draft: Draft, child: Node, reason: ExitReason) -> bool:
    """Settle the exit of a child that is Idle (or Down) now and was not asked to exit.

    Returns:
        True when the child is to begin a new life at once.
    """
    supervisor = child.parent
    assert supervisor is not None
    rule = rule_for(child.spec, reason) if isinstance(child, Segment) else None
    how = ending_after(child.spec, reason)
    if how is not None:
        if isinstance(child, Segment) and how is Ending.GAVE_UP:
            said = "on_exit" if rule in child.spec.on_exit else "never_on"
            draft.report(ReportCode.GAVE_UP, child, f"{reason}: not worth a second try ({said})")
        _end_by_itself(draft, child, how)
        return False
    if not lets_begin(child):
        return False  # its supervisor goes down, or takes it along in a group restart
    if rule is not None and rule.tries is not None:
        return _try_again(draft, child, rule, reason)
    own_limit = _own_limit_exceeded(draft, child)
    if own_limit is not None:
        text = f"{reason}; its own budget of {own_limit} is used up"
        draft.report(ReportCode.GAVE_UP, child, text)
        _end_by_itself(draft, child, Ending.GAVE_UP)
        return False
    spec = supervisor.spec
    restarts = add_restart(supervisor.state.restarts, draft.now_s, spec.max_seconds)
    limit = limit_exceeded(restarts, child.state.streak + 1, spec.max_restarts, spec.max_seconds)
    if limit is not None:
        text = f"{child.path} {reason}; its limit of {limit} is used up"
        draft.report(ReportCode.GAVE_UP, supervisor, text)
        _give_up(draft, supervisor, child)
        return False
    return _restart(draft, child, restarts, reason, rule)


def _try_again(draft: Draft, child: Node, rule: OnExit, reason: ExitReason) -> bool:
    """Restart a child after a cause that has tries of its own; no other limit is charged."""
    assert isinstance(child, Segment)
    assert rule.tries is not None
    if times(child.state.tries, rule.cause) >= rule.tries:
        tries = "1 try" if rule.tries == 1 else f"{rule.tries} tries"
        draft.report(ReportCode.GAVE_UP, child, f"{reason}; its {tries} after {rule.cause} used up")
        _end_by_itself(draft, child, Ending.GAVE_UP)
        return False
    return _restart(draft, child, child.parent.state.restarts, reason, rule)


def _own_limit_exceeded(draft: Draft, child: Node) -> str | None:
    """Return the child's own limit if one more restart is over it; supervisors have none."""
    budget = child.spec.budget if isinstance(child, Segment) else None
    if budget is None:
        return None
    restarts = add_restart(child.state.restarts, draft.now_s, budget.max_seconds)
    return limit_exceeded(restarts, 0, budget.max_restarts, budget.max_seconds)


def _end_by_itself(draft: Draft, child: Node, how: Ending) -> None:
    """Let a child rest that nobody asked to end; a significant one may end its supervisor.

    Not while the child's own group is being stopped or its supervisor goes down: who is taken along
    does not count as having ended by itself.
    """
    supervisor = child.parent
    assert supervisor is not None
    ends_supervisor = lets_begin(child) and ends_with(supervisor, child)
    come_to_rest(draft, child, how)
    if ends_supervisor:
        why = Why.FINISHED if how is Ending.COMPLETED else Why.GAVE_UP
        text = f"{child.path}, which is significant, {_ENDED[how]}; all else is stopped"
        draft.report(ReportCode.AUTO_SHUTDOWN, supervisor, text)
        _go_down(draft, supervisor, why)


def come_to_rest(draft: Draft, node: Node, how: Ending) -> None:
    """End a node for good and give back what its segments held."""
    if isinstance(node, Segment):
        draft.put_phase(node, Ended(draft.now_s, how))
        draft.actions.append(Release(node.path, node.state.incarnation))
    else:
        draft.put_supervisor_phase(node, SupervisorEnded(draft.now_s, how))
        release_below(draft, node)


def release_below(draft: Draft, supervisor: Supervisor) -> None:
    """Give back the cells of all segments below a supervisor that stays down.

    Those that had come to rest before gave theirs back then.
    """
    for node in subtree(supervisor):
        if isinstance(node, Segment) and type(node.state.phase) is Idle:
            draft.actions.append(Release(node.path, node.state.incarnation))


# ----------------------------------------------------------------------------------- giving up


def _give_up(draft: Draft, supervisor: Supervisor, child: Node) -> None:
    """One restart too many: the supervisor goes down, or the root lets go of the child."""
    is_needed = ends_with(supervisor, child)
    come_to_rest(draft, child, Ending.GAVE_UP)
    is_root = supervisor.parent is None
    if is_root and supervisor.spec.strategy is Strategy.ONE_FOR_ONE and not is_needed:
        # Nobody depends on the offender, so everybody else goes on, with a window of their own.
        draft.put_supervisor(supervisor, replace(supervisor.state, failed=True, restarts=()))
        draft.report(ReportCode.PIPELINE_FAILED, supervisor, f"{child.path} was given up")
        return
    _go_down(draft, supervisor, Why.GAVE_UP)


def _go_down(draft: Draft, supervisor: Supervisor, why: Why) -> None:
    """Begin to stop everything below a supervisor that ends by itself."""
    streak = 0 if _was_quiet(draft, supervisor) else supervisor.state.streak
    down = GoingDown(draft.now_s, len(supervisor.children) - 1, why)
    draft.put_supervisor(supervisor, replace(supervisor.state, phase=down, streak=streak))


def _was_quiet(draft: Draft, supervisor: Supervisor) -> bool:
    """Was it up, and without restarts, for long enough to end its own row of restarts?

    Being up is not enough: a supervisor is up while its child dies over and over.
    """
    phase = supervisor.state.phase
    if type(phase) is not Up:
        return False
    quiet_since_s = max((phase.since_s, *supervisor.state.restarts[-1:]))
    return draft.now_s - quiet_since_s >= supervisor.spec.backoff.reset_after_s


# ---------------------------------------------------------------------------------- restarting


def _restart(
    draft: Draft,
    child: Node,
    restarts: tuple[float, ...],
    reason: ExitReason,
    rule: OnExit | None,
) -> bool:
    """Charge child and supervisor, then restart the child alone or its group.

    Args:
        draft: the step.
        child: that has exited.
        restarts: its supervisor's window after this restart.
        reason: why it exited.
        rule: what is declared for that cause.
    """
    supervisor = child.parent
    assert supervisor is not None
    _charge(draft, child, rule)
    backoff_s = delay_s(child.spec.backoff, _in_row(child), child.path, child.state.incarnation)
    wait_s = _await_bucket(draft, child, backoff_s)
    which = _which_try(child, rule)
    charged = replace(
        supervisor.state, restarts=restarts, restart_count=supervisor.state.restart_count + 1
    )
    first = first_to_go(supervisor.spec.strategy, child.position)
    if first is None:
        draft.put_supervisor(supervisor, charged)
        draft.report(ReportCode.RESTART_SCHEDULED, child, f"{reason}; again {_in(wait_s)}{which}")
        return _back_off(draft, child, wait_s)
    draft.put_supervisor(
        supervisor, replace(charged, phase=_recycling(draft, supervisor, first, wait_s))
    )
    text = f"{child.path} {reason}; all from {supervisor.children[first].path} on again"
    draft.report(ReportCode.GROUP_RESTART, supervisor, f"{text} {_in(wait_s)}{which}")
    return False


def _await_bucket(draft: Draft, child: Node, wait_s: float) -> float:
    """Return how long a restart waits when the whole pipeline's rate is heeded, too."""
    root = draft.tree.root
    rate = root.spec.restart_rate
    if rate is None:
        return wait_s
    storm, turn_s = take(rate, root.state.storm, draft.now_s)
    draft.put_supervisor(root, replace(root.state, storm=storm))
    if turn_s <= wait_s:
        return wait_s
    span_s = draft.now_s - storm.since_s
    text = f"restart storm: {storm.restarts} restarts in {span_s:.1f}s"
    more = f"this one waits {turn_s - wait_s:.1f}s more"
    draft.report(ReportCode.RESTART_STORM, child, f"{text}; {more}")
    return turn_s


def _in_row(child: Node) -> int:
    """Return which restart in a row this is, whoever counts it."""
    if isinstance(child, Segment):
        return restarts_in_row(child.spec, child.state)
    return child.state.streak


def _which_try(child: Node, rule: OnExit | None) -> str:
    if rule is None or rule.tries is None or not isinstance(child, Segment):
        return ""
    return f" (try {times(child.state.tries, rule.cause)} of {rule.tries} after {rule.cause})"


def _charge(draft: Draft, child: Node, rule: OnExit | None) -> None:
    """Count a restart that is going to happen: for its cause, or against the limits, or both."""
    if isinstance(child, Supervisor):
        draft.put_supervisor(child, replace(child.state, streak=child.state.streak + 1))
        return
    state = child.state
    budget = child.spec.budget
    has_own_tries = rule is not None and rule.tries is not None
    restarts = state.restarts
    if budget is not None and not has_own_tries:
        restarts = add_restart(restarts, draft.now_s, budget.max_seconds)
    charged = replace(
        state,
        streak=state.streak if has_own_tries else state.streak + 1,
        restarts=restarts,
        restart_count=state.restart_count + 1,
        tries=counted(state.tries, rule.cause) if rule and rule.counts else state.tries,
    )
    draft.put(child, charged)


def _back_off(draft: Draft, child: Node, wait_s: float) -> bool:
    """Schedule the child; True when there is nothing to wait for."""
    if wait_s <= 0:
        return True
    until_s = draft.now_s + wait_s
    if isinstance(child, Segment):
        draft.put_phase(child, BackingOff(draft.now_s, until_s))
    else:
        draft.put_supervisor_phase(child, SupervisorBackingOff(draft.now_s, until_s))
    return False


def _recycling(draft: Draft, supervisor: Supervisor, first: int, wait_s: float) -> Recycling:
    """Begin a group restart, or widen the one under way: one hold-off, the longest."""
    until_s = draft.now_s + wait_s
    phase = supervisor.state.phase
    if isinstance(phase, Recycling):
        return Recycling(
            phase.since_s, min(first, phase.first), phase.cursor, max(until_s, phase.hold_until_s)
        )
    return Recycling(draft.now_s, first, len(supervisor.children) - 1, until_s)


_ENDED = {
    Ending.COMPLETED: "has completed",
    Ending.FAILED: "has failed",
    Ending.GAVE_UP: "gave up",
}


def _in(wait_s: float) -> str:
    return f"in {wait_s:.1f}s" if wait_s > 0 else "at once"
