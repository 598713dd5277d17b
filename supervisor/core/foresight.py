"""What would happen if: the real core, on simulated time, told of faults that never happened.

Nothing here decides: every answer comes from `machine.step`, so a forecast cannot differ from what
the daemon would do. This module plays the bodies. They are obedient: ready at once, gone as soon as
they are asked; tasks that others wait for (`after`) complete at once. The faulty ones fail in every
life, until the tree settles. Delays are taken without their jitter (or at either end of it), so
that a forecast shows round numbers and can give bounds.
Must never read a clock: time jumps from one deadline to the next.
Read next: `machine.py` (what is asked), `supervisor/cli/whatif.py` (how it is told).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from supervisor.core.actions import Action, Halt, Kill, Report, ReportCode, Start, Stop
from supervisor.core.codec import PHASE_NAMES
from supervisor.core.draft import Step
from supervisor.core.events import (
    Event,
    Exited,
    ExitKind,
    ExitReason,
    LifeEvent,
    Ready,
    RestartRequested,
    Tick,
    Unresponsive,
)
from supervisor.core.machine import boot, next_deadline, outstanding, restore, step
from supervisor.core.spec import (
    Backoff,
    Health,
    Kind,
    NodeSpec,
    Path,
    Restart,
    SegmentSpec,
    SupervisorSpec,
)
from supervisor.core.state import (
    BackingOff,
    BringingUp,
    Ended,
    GoingDown,
    Killing,
    NodeState,
    Recycling,
    Running,
    SegmentState,
    Starting,
    Stopping,
    SupervisorBackingOff,
    SupervisorEnded,
    Waiting,
)
from supervisor.core.tree import Segment, Supervisor, Tree

Faults = Mapping[Path, ExitReason]
"""Segment -> how each of its lives ends.

`hang`, `start_timeout` and `deadline` are noticed as the daemon would notice them, by a probe or a
deadline; all others are exits of a body that was ready.
"""

MAX_FAILURES = 2_000
"""A tree in which one segment has failed so often counts as one that never settles."""

_UNSETTLED = frozenset(
    {
        BackingOff,
        BringingUp,
        GoingDown,
        Killing,
        Recycling,
        Starting,
        Stopping,
        SupervisorBackingOff,
    }
)
_NOTICED = frozenset(
    {ReportCode.UNRESPONSIVE, ReportCode.START_TIMED_OUT, ReportCode.DEADLINE_PASSED}
)
_STOPPED = ExitReason(ExitKind.STOPPED)
_KILLED = ExitReason(ExitKind.SIGNAL, "SIGKILL")


@dataclass(slots=True)
class Fate:
    """What the faults mean for one node. Times are seconds after the faults strike.

    Args:
        failures: when a life of it failed by itself.
        starts: when it was started again; of a supervisor: brought up again.
        stops: when it was told to go because of others.
        gave_up_s, limit: when a limit was used up, and which.
        blocked_by: paths it waits for and that will not come.
        before, end: the phases when the faults strike and when all has settled, as stored words.
        how: how it ended, if it ended.
        touched: the faults reach it; what would have happened without them does not count.
    """

    failures: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    gave_up_s: float | None = None
    limit: str = ""
    blocked_by: tuple[Path, ...] = ()
    before: str = ""
    end: str = ""
    how: str = ""
    touched: bool = field(default=False, compare=False)

    @property
    def moved(self) -> bool:
        """Does anything happen to it at all?"""
        happened = self.failures or self.starts or self.stops or self.blocked_by
        return bool(happened) or self.gave_up_s is not None or self.before != self.end


@dataclass(frozen=True, slots=True)
class Foresight:
    """The forecast for a tree.

    Args:
        fates: of every node, in tree order.
        settled_s: when nothing moves any more; None when it never settles.
        unnoticed: faulty segments whose fault nobody would see: no probe, no time quota.
        halted: the pipeline went down by itself.
    """

    fates: Mapping[Path, Fate]
    settled_s: float | None
    unnoticed: tuple[Path, ...]
    halted: bool

    @property
    def touched(self) -> tuple[Path, ...]:
        """The blast radius."""
        return tuple(path for path, fate in self.fates.items() if fate.touched)


def rehearse(spec: SupervisorSpec, faults: Faults, *, lean: float = 0.0) -> Foresight:
    """Launch, let everything come up, then let the faults strike.

    Args:
        spec: the pipeline.
        faults: what fails, and how.
        lean: every delay without jitter (0), at the longest (1) or the shortest (-1) it can be.
    """
    first = boot(_made_steady(spec, faults, lean), 0.0)
    stage = _Stage(first.tree, faults, 0.0)
    stage.hear(first)
    stage.play()
    return stage.strike()


def foresee(
    spec: SupervisorSpec,
    states: Mapping[Path, Mapping[str, Any]],
    faults: Faults,
    now_s: float,
    *,
    lean: float = 0.0,
) -> Foresight:
    """Go on from how a pipeline stands now: used up restarts count, a backoff runs on.

    Args:
        spec: the pipeline.
        states: of all nodes, as `codec.encode_state` gives them.
        faults: what fails, and how.
        now_s: steady time.
        lean: see `rehearse`.
    """
    calm = _on_from_here(spec, states, {}, now_s, lean)
    forecast = _on_from_here(spec, states, faults, now_s, lean)
    for path, fate in forecast.fates.items():
        # A backoff that ran before, of another segment, ends whether or not this one fails.
        fate.touched = fate != calm.fates[path]
    return forecast


def _on_from_here(
    spec: SupervisorSpec,
    states: Mapping[Path, Mapping[str, Any]],
    faults: Faults,
    now_s: float,
    lean: float,
) -> Foresight:
    tree = restore(_made_steady(spec, faults, lean), states)
    for node in tree.nodes.values():
        state = node.state
        if isinstance(state.phase, Running) and not _outlives_quota(node.path, faults):
            assert isinstance(state, SegmentState)
            tree.reinstate(node, replace(state, phase=Running(state.phase.since_s)))
    stage = _Stage(tree, faults, now_s)
    stage.react(outstanding(tree))
    return stage.strike()


class _Stage:
    """A tree, its bodies, and the news that is on its way."""

    def __init__(self, tree: Tree, faults: Faults, now_s: float) -> None:
        self.tree = tree
        self.faults = faults
        self.now_s = now_s
        self.struck_s = now_s
        self.fates = {path: Fate() for path in tree.nodes}
        self.unnoticed: set[Path] = set()
        self.halted = False
        self._armed = False
        self._is_endless = False
        self._news: list[tuple[float, int, Event]] = []
        self._numbers = count()
        self._unsettled = {path for path, state in tree.states.items() if _moves(state)}

    def strike(self) -> Foresight:
        """Let the faults happen from now on, until all is settled; return what came of it."""
        self._armed = True
        self.struck_s = self.now_s
        for path, node in self.tree.nodes.items():
            self.fates[path] = Fate(before=PHASE_NAMES[type(node.state.phase)])
        for path, reason in self.faults.items():
            node = self.tree.nodes[path]
            if not isinstance(node.state.phase, Running):
                continue  # it fails once it runs
            if reason.kind is ExitKind.START_TIMEOUT:
                # A person's restart is charged to nobody: only the start that follows it is faulty.
                self._later(0.0, RestartRequested(path))
            else:
                self._fail(path, node.state.incarnation)
        settles = self.play()
        for path, node in self.tree.nodes.items():
            phase = node.state.phase
            self.fates[path].end = PHASE_NAMES[type(phase)]
            if isinstance(phase, Ended | SupervisorEnded):
                self.fates[path].how = phase.how.value
        self._find_blocked()
        for fate in self.fates.values():
            fate.touched = fate.moved
        settled_s = self.now_s - self.struck_s if settles else None
        return Foresight(self.fates, settled_s, tuple(sorted(self.unnoticed)), self.halted)

    def play(self) -> bool:
        """Let things happen, earliest first; True when nothing is left that will move by itself."""
        while (self._news or self._unsettled) and not self._is_endless:
            deadline_s = next_deadline(self.tree)
            if self._news and (deadline_s is None or self._news[0][0] <= deadline_s):
                at_s, _, event = heapq.heappop(self._news)
            elif deadline_s is not None:
                at_s, event = deadline_s, Tick()
            else:
                return False  # something is deaf, and nobody will ever kill it
            self.now_s = max(self.now_s, at_s)
            self._happens(event)
        return not self._is_endless

    def _happens(self, event: Event) -> None:
        if isinstance(event, LifeEvent) and self._is_over(event):
            return
        if isinstance(event, Exited) and event.reason == self.faults.get(event.path):
            self._failed(event.path)
        self.hear(step(self.tree, event, self.now_s))

    def _is_over(self, event: LifeEvent) -> bool:
        """Was the life that this is about ended by something that came first?"""
        node = self.tree.nodes[event.path]
        phase = node.state.phase
        alive = isinstance(phase, Starting | Running | Stopping | Killing)
        return node.state.incarnation != event.incarnation or not alive

    def hear(self, made: Step) -> None:
        """Note what a decision changed, and do what it orders."""
        for path in made.changed:
            node = self.tree.nodes[path]
            (self._unsettled.add if self._waits(path) else self._unsettled.discard)(path)
            before = made.before[path].incarnation
            if isinstance(node, Supervisor) and node.state.incarnation > before:
                self.fates[path].starts.append(self.now_s - self.struck_s)
        self.react(made.actions)

    def _waits(self, path: Path) -> bool:
        state = self.tree.states[path]
        if self._armed and isinstance(state.phase, Running) and path not in self.unnoticed:
            return _outlives_quota(path, self.faults)
        return _moves(state)

    def react(self, actions: tuple[Action, ...]) -> None:
        """Be the bodies."""
        for action in actions:
            match action:
                case Start(path, incarnation):
                    self._begin(path, incarnation)
                case Stop(path, incarnation):
                    self._told_to_go(path)
                    if not self._is_deaf(path):
                        self._later(0.0, Exited(path, incarnation, _STOPPED))
                case Kill(path, incarnation):
                    if self._has_no_grace(path):  # else it was noted when it was asked to go
                        self._told_to_go(path)
                    self._later(0.0, Exited(path, incarnation, _KILLED))
                case Report(code, path, text):
                    self._note(code, path, text)
                case Halt():
                    self.halted = True
                case _:
                    pass

    def _begin(self, path: Path, incarnation: int) -> None:
        """A new life: what does this body do with it?"""
        fault = self.faults.get(path)
        fate = self.fates[path]
        never_ready = fault is not None and fault.kind is ExitKind.START_TIMEOUT
        if fate.failures or not never_ready:  # the start that is to fail first is the fault itself
            fate.starts.append(self.now_s - self.struck_s)
        if self._armed and never_ready:
            return
        self._later(0.0, Ready(path, incarnation))
        if fault is None:
            if self._completes(path):
                self._later(0.0, Exited(path, incarnation, ExitReason(ExitKind.COMPLETED)))
        elif self._armed:
            self._fail(path, incarnation)

    def _completes(self, path: Path) -> bool:
        """Does somebody wait for this task to be done?"""
        node = self.tree.nodes[path]
        assert isinstance(node, Segment)
        finite = node.spec.kind is Kind.TASK and node.spec.restart is not Restart.PERMANENT
        return finite and bool(node.dependents)

    def _fail(self, path: Path, incarnation: int) -> None:
        """Let a life that is ready fail, as soon as that would be noticed."""
        reason = self.faults[path]
        node = self.tree.nodes[path]
        assert isinstance(node, Segment)
        if reason.kind is ExitKind.DEADLINE:
            if node.spec.quota.time_s is None:
                self.unnoticed.add(path)
            else:
                self._unsettled.add(path)
        elif reason.kind is ExitKind.HANG:
            notice_s = noticed_after_s(node.spec.health)
            if notice_s is None:
                self.unnoticed.add(path)
            else:
                self._later(notice_s, Unresponsive(path, incarnation))
        else:
            self._later(0.0, Exited(path, incarnation, reason))

    def _is_deaf(self, path: Path) -> bool:
        """What hangs does not hear that it should go."""
        fault = self.faults.get(path)
        return self._armed and fault is not None and fault.kind is ExitKind.HANG

    def _later(self, delay_s: float, event: Event) -> None:
        heapq.heappush(self._news, (self.now_s + delay_s, next(self._numbers), event))

    # ------------------------------------------------------------------------------- what is noted

    def _failed(self, path: Path) -> None:
        failures = self.fates[path].failures
        failures.append(self.now_s - self.struck_s)
        self._is_endless = len(failures) >= MAX_FAILURES

    def _told_to_go(self, path: Path) -> None:
        """Note a stop that others caused; one that follows its own failure is no news."""
        phase = self.tree.states[path].phase
        own = isinstance(phase, Stopping | Killing) and phase.why.value in _OWN_CAUSES
        if not own:
            self.fates[path].stops.append(self.now_s - self.struck_s)

    def _has_no_grace(self, path: Path) -> bool:
        node = self.tree.nodes[path]
        return isinstance(node, Segment) and node.spec.shutdown.grace_s == 0

    def _note(self, code: ReportCode, path: Path, text: str) -> None:
        if code in _NOTICED:
            self._failed(path)
        elif code is ReportCode.GAVE_UP and self.fates[path].gave_up_s is None:
            self.fates[path].gave_up_s = self.now_s - self.struck_s
            self.fates[path].limit = text

    def _find_blocked(self) -> None:
        """Mark who waits for something that was hit and will not come, and who waits for those."""
        hit = [
            node
            for path, node in self.tree.nodes.items()
            if isinstance(node, Segment) and not node.fulfils and self.fates[path].moved
        ]
        while hit:
            lost = hit.pop()
            for dependent in lost.dependents:
                fate = self.fates[dependent.path]
                waits = isinstance(dependent.state.phase, Waiting)
                if waits and lost.path not in fate.blocked_by:
                    fate.blocked_by = (*fate.blocked_by, lost.path)
                    hit.append(dependent)


_OWN_CAUSES = frozenset({"hang", "start_timeout", "deadline", "user_restart"})


def noticed_after_s(health: Health) -> float | None:
    """Return how long a hang lasts until it is noticed at the latest; None: for ever.

    >>> noticed_after_s(Health()) is None
    True
    """
    alive = health.alive
    if alive is None:
        return None
    if alive.how == "notify":  # one sign of life must come in the time of all asks together
        return alive.period_s * alive.failures
    return (alive.period_s + alive.timeout_s) * alive.failures


def _moves(state: NodeState) -> bool:
    return type(state.phase) in _UNSETTLED


def _outlives_quota(path: Path, faults: Faults) -> bool:
    fault = faults.get(path)
    return fault is not None and fault.kind is ExitKind.DEADLINE


def _made_steady(spec: SupervisorSpec, faults: Faults, lean: float) -> SupervisorSpec:
    """Return the tree with jitter fixed, and without time quotas that nobody is said to exceed."""
    steady = _steady(spec, spec.name, faults, lean)
    assert isinstance(steady, SupervisorSpec)
    return steady


def _steady(spec: NodeSpec, path: Path, faults: Faults, lean: float) -> NodeSpec:
    backoff = _leaning(spec.backoff, lean)
    if isinstance(spec, SegmentSpec):
        time_s = spec.quota.time_s if _outlives_quota(path, faults) else None
        return replace(spec, backoff=backoff, quota=replace(spec.quota, time_s=time_s))
    children = tuple(_steady(one, f"{path}/{one.name}", faults, lean) for one in spec.children)
    return replace(spec, backoff=backoff, children=children)


def _leaning(backoff: Backoff, lean: float) -> Backoff:
    share = 1.0 + lean * backoff.jitter
    return replace(
        backoff, first_s=backoff.first_s * share, max_s=backoff.max_s * share, jitter=0.0
    )
