"""Who goes down with a child that is to be restarted, and whether it is restarted at all.

Pure questions about one spec and one fact; `restarts.py` asks them. The tables are OTP's.
Read next: docs/semantics.md, sections 3, 4 and 11.
"""

from __future__ import annotations

from supervisor.core.causes import rule_for
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import AutoShutdown, NodeSpec, Restart, SegmentSpec, Strategy
from supervisor.core.state import Down, Ended, Ending, Idle, SupervisorEnded
from supervisor.core.tree import Node, Supervisor

_CLEAN = frozenset({ExitKind.COMPLETED, ExitKind.STOPPED, ExitKind.GAVE_UP})
"""OTP's `normal` and `shutdown`. A supervisor that gives up exits with `shutdown`, too."""


def is_clean(reason: ExitReason) -> bool:
    """Is this an exit that a transient child is not restarted after?

    >>> is_clean(ExitReason(ExitKind.COMPLETED)), is_clean(ExitReason(ExitKind.EXIT, "1"))
    (True, False)
    """
    return reason.kind in _CLEAN


def ending_after(spec: NodeSpec, reason: ExitReason) -> Ending | None:
    """Return how a child that exited by itself comes to rest, None when it is to be restarted.

    >>> ending_after(SegmentSpec("a"), ExitReason(ExitKind.COMPLETED))
    <Ending.COMPLETED: 'completed'>
    >>> ending_after(SegmentSpec("a"), ExitReason(ExitKind.OOM)) is None
    True
    """
    clean = is_clean(reason)
    if spec.restart is Restart.TEMPORARY or (clean and spec.restart is Restart.TRANSIENT):
        return _resting(reason)
    if not clean and isinstance(spec, SegmentSpec) and is_hopeless(spec, reason):
        return Ending.GAVE_UP
    return None


def _resting(reason: ExitReason) -> Ending:
    if reason.kind is ExitKind.GAVE_UP:
        return Ending.GAVE_UP
    return Ending.COMPLETED if is_clean(reason) else Ending.FAILED


def is_hopeless(spec: SegmentSpec, reason: ExitReason) -> bool:
    """Did the user say (`never_on`, `on_exit`) that this exit is not worth a second try?

    >>> spec = SegmentSpec("a", never_on=frozenset({"FileNotFoundError", "78"}))
    >>> is_hopeless(spec, ExitReason(ExitKind.ERROR, "FileNotFoundError: no data"))
    True
    >>> is_hopeless(spec, ExitReason(ExitKind.EXIT, "78"))
    True
    >>> is_hopeless(spec, ExitReason(ExitKind.SIGNAL, "78"))
    False
    """
    rule = rule_for(spec, reason)
    return rule is not None and not rule.retries


def first_to_go(strategy: Strategy, position: int) -> int | None:
    """Return the position from which on everybody goes down with that child, None for nobody.

    >>> [first_to_go(strategy, 2) for strategy in Strategy]
    [None, 2, 0]
    """
    match strategy:
        case Strategy.ONE_FOR_ONE:
            return None
        case Strategy.REST_FOR_ONE:
            return position
        case Strategy.ONE_FOR_ALL:
            return 0


def ends_with(supervisor: Supervisor, child: Node) -> bool:
    """Does the supervisor end because this child ends by itself and is not started again?

    Under `all_significant` a child that waits for its turn, its `after` or its backoff counts as
    active, as a restarting one does in OTP; what a person stopped does not.
    """
    if not child.spec.significant:
        return False
    match supervisor.spec.auto_shutdown:
        case AutoShutdown.NEVER:
            return False
        case AutoShutdown.ANY_SIGNIFICANT:
            return True
        case AutoShutdown.ALL_SIGNIFICANT:
            others = (other for other in supervisor.children if other is not child)
            return not any(other.spec.significant and _is_active(other) for other in others)


def _is_active(child: Node) -> bool:
    phase = child.state.phase
    if isinstance(phase, Ended | SupervisorEnded):
        return False
    return child.state.wanted or not isinstance(phase, Idle | Down)
