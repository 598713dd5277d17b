"""What the user declared, already validated: the tree of supervisors and segments.

Decides nothing. These are values: frozen, comparable, made of the standard library only. The core
reads the part that steers lives (restart types, budgets, backoff, deadlines, `after`); what a body
is and how it is contained (`Body`, `Quota`, `Health`) passes through it untouched.
Read next: `state.py` (what happens to a spec over time), `machine.py` (who decides it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Path = str
"""`digits/training/train`: pipeline, supervisors, segment, joined by `/`. Names hold no `/`."""


class Kind(StrEnum):
    """What a segment is for: a task runs to an end, a service until it is stopped."""

    TASK = "task"
    SERVICE = "service"


class Restart(StrEnum):
    """When an exit is followed by a restart, with OTP's meaning."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """After an abnormal exit."""
    TEMPORARY = "temporary"
    """Never."""


class Strategy(StrEnum):
    """Who goes down with a child that is to be restarted."""

    ONE_FOR_ONE = "one_for_one"
    """Nobody."""
    REST_FOR_ONE = "rest_for_one"
    """Those that stand after it."""
    ONE_FOR_ALL = "one_for_all"
    """All its siblings."""


class AutoShutdown(StrEnum):
    """When a supervisor ends because of significant children that ended by themselves."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    """When one of them has."""
    ALL_SIGNIFICANT = "all_significant"
    """When the last of them has."""


class Criticality(StrEnum):
    """Who is given up first when the node itself runs low."""

    BEST_EFFORT = "best_effort"
    NORMAL = "normal"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before the n-th restart in a row: `first * factor**(n-1)`, capped.

    Args:
        first_s: delay before the first restart, seconds, >= 0.
        factor: growth per restart, >= 1.
        max_s: cap before jitter, seconds, >= first_s.
        jitter: share of the delay, 0..1; the delay is spread evenly over +- this share.
        reset_after_s: a run that stays healthy this long ends the row, seconds, > 0.
    """

    first_s: float = 1.0
    factor: float = 2.0
    max_s: float = 60.0
    jitter: float = 0.2
    reset_after_s: float = 60.0


@dataclass(frozen=True, slots=True)
class RestartRate:
    """How fast a whole pipeline restarts what fails; more than that waits.

    Args:
        burst: restarts that may come at once, >= 1.
        per_second: restarts that become allowed per second, > 0.
    """

    burst: int = 20
    per_second: float = 2.0


@dataclass(frozen=True, slots=True)
class Budget:
    """A segment's own restart limit, beside its supervisor's.

    Args:
        max_restarts: restarts allowed inside the window, >= 0; one more and the segment gives up.
        max_seconds: the window in seconds, > 0; None means that restarts never age, and only a
            healthy run of `Backoff.reset_after_s` clears them.
    """

    max_restarts: int
    max_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How a body is asked to go.

    Args:
        grace_s: seconds between the signal and the kill; 0 kills at once (`brutal_kill`), None
            waits for ever (`infinity`).
        signal: name of the signal that asks, `SIGTERM` unless said.
    """

    grace_s: float | None = 10.0
    signal: str = "SIGTERM"


@dataclass(frozen=True, slots=True)
class Quota:
    """Upper bounds on what one segment's process tree may use; None is unlimited.

    `time_s` is held by the core as a deadline; all others are held by the cell's enforcer.
    """

    memory_bytes: int | None = None
    cpu_cores: float | None = None
    processes: int | None = None
    open_files: int | None = None
    disk_bytes: int | None = None
    time_s: float | None = None
    gpus: float | None = None
    log_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Adjustments:
    """What one life gets instead of what its segment declares.

    Args:
        quota: fields of `Quota` and their values.
        env: variables, on top of `Body.env`.
    """

    quota: Mapping[str, float] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Grow:
    """A quota that is multiplied for the next attempt.

    Args:
        quota: a field of `Quota`.
        factor: > 1; applied to the present value.
        up_to: never more than this, in the quota's unit; None for no cap.
    """

    quota: str
    factor: float
    up_to: float | None = None


@dataclass(frozen=True, slots=True)
class OnExit:
    """What follows an abnormal exit of one cause.

    Args:
        cause: a word of `ExitKind`, or more exactly `error[Type]`, `exit[code]`, `signal[NAME]`.
        retries: False gives up at once.
        tries: restarts in a row after this cause; they are charged to no other limit. None leaves
            it to the other limits.
        grow: what the next attempt gets more of.
        env: what is different for the next attempt: `half` or `double` of a declared whole number,
            or a text.
    """

    cause: str
    retries: bool = True
    tries: int | None = None
    grow: Grow | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def counts(self) -> bool:
        """Must it be known how often this was followed?"""
        return self.tries is not None or self.grow is not None or bool(self.env)


@dataclass(frozen=True, slots=True)
class Probe:
    """One way to ask a body how it is.

    Args:
        how: `http`, `tcp`, `exec`, `notify` (the body says READY=1 / WATCHDOG=1 itself).
        target: http: the path (`/healthz`); tcp: unused; exec: unused; notify: unused.
        port: name of the port in `Body.ports` that http and tcp ask.
        argv: the program that exec runs; exit code 0 is healthy.
        period_s, timeout_s: seconds between two asks, and for one answer, > 0.
        failures: asks in a row that must fail before the body counts as unhealthy, >= 1.
    """

    how: str
    target: str = ""
    port: str = "http"
    argv: tuple[str, ...] = ()
    period_s: float = 5.0
    timeout_s: float = 2.0
    failures: int = 3


@dataclass(frozen=True, slots=True)
class Health:
    """When a body counts as ready, and when as hung; None asks nothing."""

    ready: Probe | None = None
    alive: Probe | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """The user's code and what it is given; exactly one of `run` and `command` is set.

    Args:
        run: `module:callable`, called with a `Context` by our runner.
        command: a program and its arguments; no shell.
        folder: absolute working folder; modules of `run` are found here first.
        env: variables on top of those of the terminal that launched; never shown or stored.
        params: what `Context.params` gives (`PSUP_PARAMS`, JSON, for commands).
        ports: name -> port number; 0 asks for a free loopback port, the same over all restarts.
    """

    run: str | None = None
    command: tuple[str, ...] | None = None
    folder: str = "."
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notes:
    """What a person wrote beside a node for the person who is woken at night."""

    owner: str = ""
    runbook: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """A leaf of the tree: one failure domain.

    Args:
        name: unique among its siblings; letters, digits, `-` and `_`.
        kind, restart: see the enums.
        after: full paths of segments whose completion (task) or readiness (service) is awaited
            before the first instruction of this one; data order, not supervision order.
        start_timeout_s: from the order to start until ready, seconds, > 0.
        budget: the segment's own limit; None leaves only the supervisor's.
        never_on: exception type names and exit codes (as text) that are not worth a second try.
        significant: its end may be its supervisor's; see `SupervisorSpec.auto_shutdown`.
        on_exit: what follows abnormal exits of some causes; the most exact one holds.
    """

    name: str
    kind: Kind = Kind.TASK
    restart: Restart = Restart.TRANSIENT
    after: tuple[Path, ...] = ()
    start_timeout_s: float = 60.0
    backoff: Backoff = Backoff()
    budget: Budget | None = None
    never_on: frozenset[str] = frozenset()
    shutdown: Shutdown = Shutdown()
    quota: Quota = Quota()
    health: Health = Health()
    criticality: Criticality = Criticality.NORMAL
    body: Body = Body()
    policy: str = ""
    notes: Notes = Notes()
    significant: bool = False
    on_exit: tuple[OnExit, ...] = ()


@dataclass(frozen=True, slots=True)
class SupervisorSpec:
    """An inner node: a strategy over ordered children. The root is the pipeline itself.

    Args:
        name: unique among its siblings; the root's name is the pipeline's.
        children: in start order; stop order is its reverse, always computed.
        max_restarts, max_seconds: one restart more than `max_restarts` inside `max_seconds`
            seconds, or in a row without a healthy run, and the supervisor gives up.
        restart: what the parent does when this supervisor has exited; `temporary` is a bulkhead.
        backoff: delay before this supervisor is started again by its parent.
        auto_shutdown: whether the end of significant children ends this supervisor.
        significant: as of a segment: its end may be its own supervisor's.
        restart_rate: only of the root: how fast anything in the tree is restarted; None: at once.
        template: what the children are instances of; then they start and stop side by side.
        max_children: how many instances of the template there may be; None is no limit.
    """

    name: str
    children: tuple[SegmentSpec | SupervisorSpec, ...] = ()
    strategy: Strategy = Strategy.ONE_FOR_ONE
    max_restarts: int = 5
    max_seconds: float = 60.0
    restart: Restart = Restart.PERMANENT
    backoff: Backoff = Backoff()
    notes: Notes = Notes()
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER
    significant: bool = False
    restart_rate: RestartRate | None = None
    template: SegmentSpec | None = None
    max_children: int | None = None


NodeSpec = SegmentSpec | SupervisorSpec
