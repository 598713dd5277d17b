"""One compact line for everything in the core: the words of golden traces, `events` and `why`.

Decides nothing, and reads nothing but what it is given. Times are printed as they are, in seconds
of the steady clock; who wants ages subtracts first.
Read next: `events.py`, `actions.py`, `state.py` (the values), tests/core/scenarios (the words).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from supervisor.core import actions, events
from supervisor.core.actions import Action
from supervisor.core.codec import PHASE_NAMES
from supervisor.core.events import Event
from supervisor.core.spec import SegmentSpec
from supervisor.core.state import (
    BackingOff,
    BringingUp,
    Ended,
    GoingDown,
    Killing,
    NodeState,
    Phase,
    Recycling,
    Running,
    SegmentState,
    Starting,
    Stopping,
    SupervisorBackingOff,
    SupervisorEnded,
    SupervisorPhase,
)
from supervisor.core.tree import Node, Tree, subtree


def describe_phase(phase: Phase | SupervisorPhase) -> str:
    """Return the phase's name and what it waits for.

    >>> describe_phase(BackingOff(since_s=3.0, until_s=4.5))
    'backing_off until 4.5'
    """
    name = PHASE_NAMES[type(phase)]
    match phase:
        case Starting(_, deadline_s) | Running(_, deadline_s):
            detail = _until(deadline_s)
        case Stopping(_, kill_at_s, why):
            detail = f" ({why.value}){_until(kill_at_s)}"
        case Killing(_, again_at_s, why):
            detail = f" ({why.value}){_until(again_at_s)}"
        case BackingOff(_, until_s) | SupervisorBackingOff(_, until_s):
            detail = _until(until_s)
        case Ended(_, how) | SupervisorEnded(_, how):
            detail = f" {how.value}"
        case BringingUp(_, cursor, keeps_counters):
            detail = f" at {cursor}" + (" (counters kept)" if keeps_counters else "")
        case Recycling(_, first, cursor, hold_until_s):
            detail = f" from {first}, at {cursor}, held{_until(hold_until_s)}"
        case GoingDown(_, cursor, why):
            detail = f" ({why.value}) at {cursor}"
        case _:
            detail = ""
    return name + detail


def _until(at_s: float | None) -> str:
    return "" if at_s is None else f" until {at_s:g}"


def describe_state(state: NodeState) -> str:
    """Return phase, incarnation and whatever about the state is out of the ordinary.

    >>> describe_state(SegmentState(Running(2.0), incarnation=3, streak=1, restart_count=2))
    'running #3, streak 1, restarts 2'
    """
    words = [f"{describe_phase(state.phase)} #{state.incarnation}"]
    if not state.wanted:
        words.append("unwanted")
    if state.streak:
        words.append(f"streak {state.streak}")
    if state.restart_count:
        words.append(f"restarts {state.restart_count}")
    if not isinstance(state, SegmentState) and state.failed:
        words.append("failed")
    if state.last_exit is not None:
        words.append(f"last {state.last_exit}")
    return ", ".join(words)


def describe_event(event: Event) -> str:
    """Return what happened, to whom.

    >>> describe_event(events.Exited("p/a", 2, events.ExitReason(events.ExitKind.OOM)))
    'exited p/a#2 oom'
    """
    return _EVENTS[type(event)](event)


def describe_action(action: Action) -> str:
    """Return what is ordered, about whom.

    >>> describe_action(actions.Start("p/a", 1)), describe_action(actions.Halt(failed=False))
    ('start p/a#1', 'halt')
    """
    return _ACTIONS[type(action)](action)


def _life(of: events.LifeEvent | actions.Start | actions.Adopt | actions.Adjust) -> str:
    return f"{of.path}#{of.incarnation}"


def _start(order: actions.Start) -> str:
    text = f"start {_life(order)}"
    words = [] if order.attempt == 1 else [f"attempt {order.attempt}"]
    if order.last_exit is not None:
        words.append(f"after {order.last_exit}")
    return f"{text} ({', '.join(words)})" if words else text


def _answer(answer: actions.Answer) -> str:
    verdict = "yes" if answer.ok else "no"
    return f"answer {answer.request} {verdict} {answer.code}: {answer.text}"


_EVENTS: Mapping[type[Event], Callable[[Any], str]] = {
    events.Started: lambda news: (
        f"started {_life(news)} pid {news.pid}" + (f" on {news.node}" if news.node else "")
    ),
    events.Ready: lambda news: f"ready {_life(news)}",
    events.Exited: lambda news: f"exited {_life(news)} {news.reason}",
    events.Unresponsive: lambda news: (
        f"unresponsive {_life(news)}" + (f": {news.detail}" if news.detail else "")
    ),
    events.StartRequested: lambda request: f"start requested {request.path}",
    events.StopRequested: lambda request: f"stop requested {request.path}",
    events.RestartRequested: lambda request: f"restart requested {request.path}",
    events.DrainRequested: lambda _: "drain requested",
    events.Tick: lambda _: "tick",
}

_ACTIONS: Mapping[type[Action], Callable[[Any], str]] = {
    actions.Start: _start,
    actions.Adopt: lambda order: f"adopt {_life(order)}",
    actions.Adjust: lambda order: f"adjust {_life(order)}",
    actions.Stop: lambda order: f"stop {_life(order)}",
    actions.Kill: lambda order: f"kill {_life(order)}",
    actions.Release: lambda order: f"release {_life(order)}",
    actions.Report: lambda report: f"report {report.code.value} {report.path}: {report.text}",
    actions.Answer: _answer,
    actions.Halt: lambda halt: "halt failed" if halt.failed else "halt",
}


def describe_tree(tree: Tree) -> str:
    """Return one line per node, children below their supervisor."""
    return "\n".join(_line(node) for node in subtree(tree.root))


def _line(node: Node) -> str:
    indent = "  " * node.path.count("/")
    kind = node.spec.kind if isinstance(node.spec, SegmentSpec) else node.spec.strategy
    return f"{indent}{node.spec.name} {kind.value} {describe_state(node.state)}"
