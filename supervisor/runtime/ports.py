"""What the driver needs from the outside: narrow protocols, each with one contract suite.

A port names promises, not products. `tests/contract/` holds every adapter, the fakes included, to
the promises written here. Nothing in this file does anything.
Read next: `driver.py` (who calls these), `adapters/` (who implements them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from supervisor.core.actions import Answer
from supervisor.core.events import ExitReason, LifeEvent
from supervisor.core.spec import Path, SegmentSpec, SupervisorSpec
from supervisor.runtime.clock import Moment

Json = Mapping[str, Any]


# ---------------------------------------------------------------------------------------- backend


@dataclass(frozen=True, slots=True)
class StartOrder:
    """All that a backend needs to begin one life.

    Args:
        path, incarnation: which life; a second order with the same pair changes nothing.
        spec: the segment, with ports already resolved to numbers.
        attempt: 1 for a first try, +1 per restart in a row.
        last_exit: how the life before ended.
        environment: the launching terminal's; `spec.body.env` goes on top, then `PSUP_*`.
        scratch: absolute folder of this life, made by the backend, counted against `disk_bytes`.
        checkpoint: absolute folder that outlives restarts, made by the backend, counted too.
        log: absolute file that this life's stdout and stderr are appended to.
        service_ports: "segment name/port name" -> number of every other segment of the pipeline,
            so that a monitor can find its server.
    """

    path: Path
    incarnation: int
    spec: SegmentSpec
    attempt: int
    last_exit: ExitReason | None
    environment: Mapping[str, str] = field(repr=False)
    scratch: str
    checkpoint: str
    log: str
    service_ports: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Notice:
    """News from a backend: a core event, or a measurement when `event` is None.

    Args:
        event: what the core is to hear.
        path, incarnation: whose life it is about.
        evidence: JSON facts that a person will want. On Started: `pid`, `node`, `cell_pid`,
            `cgroup`, `enforcement` (quota name -> "kernel" | "sampled" | "none"). On Exited:
            `peak_memory_bytes`, `cpu_s`, `exit_code`, `signal`, `oom_kills`, `traceback`,
            `last_log_lines`, `quota` (the limits), `killed_after_grace`. On measurements:
            `memory_bytes`, `cpu_cores`, `processes`, `open_files`, `disk_bytes`, and `status`,
            `progress` ([done, total]) when the body said so.
        token: given back through `Backend.saved` once the notice is in the store; 0 needs none.
    """

    event: LifeEvent | None
    path: Path
    incarnation: int
    evidence: Json = field(default_factory=dict)
    token: int = 0


class Backend(Protocol):
    """Runs bodies. No method blocks on a body; outcomes arrive as notices.

    Promises: every order is idempotent by (path, incarnation). Every `start` and every `adopt` is
    followed by exactly one Exited of that life, however it ends, also when the cell or the node is
    gone. `Exited` means that no process of that life is left. A notice with a token is delivered
    again after `adopt` until `saved` was called with it. Order within one path is kept.
    """

    def listen(self, receive: Callable[[Notice], None]) -> None:
        """Name the receiver of all notices; called once, before any order, from any thread."""

    def prepare(self, orders: Sequence[tuple[Path, SegmentSpec]]) -> None:
        """Segments that will be started soon: make their cells now, side by side. A hint."""

    def start(self, order: StartOrder) -> None:
        """Begin a life: Started, then Ready, must follow, or Exited."""

    def adopt(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        """Watch a life that began before this process did.

        What happened since is delivered as if seen live: Started and Ready again (the core drops
        what it knows), Exited if it ended, `Exited(node_lost)` if no such life can be found. A
        living body of another incarnation of that path is killed.
        """

    def adjust(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        """Hold a living body to another spec: quotas that the kernel can change, health, signal.

        Nothing is told of it: a limit that cannot be changed now holds from the next life on.
        """

    def stop(self, path: Path, incarnation: int) -> None:
        """Send the stop signal of the spec; no kill follows from here (the core orders it)."""

    def kill(self, path: Path, incarnation: int) -> None:
        """End every process of that life now, children that left its session included."""

    def release(self, path: Path) -> None:
        """The segment rests: give back its cell. Harmless when it has none."""

    def saved(self, path: Path, token: int) -> None:
        """Notices of that path up to this token are in the store and may be forgotten."""

    def sweep(self, keep: Mapping[Path, int]) -> None:
        """Remove cells and leftovers of this pipeline that belong to no life in `keep`."""

    def close(self, *, stop_cells: bool) -> None:
        """Let go of everything; with `stop_cells` nothing of this pipeline is left behind."""


# ------------------------------------------------------------------------------------------ store


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of evidence: an event, an action or a report.

    Args:
        kind: "event", "action" or "report".
        type: class name of the event or action, or the report's code.
        path: the node concerned, "" for none.
        data: the rest, JSON.
    """

    kind: str
    type: str
    path: Path
    data: Json


@dataclass(frozen=True, slots=True)
class LifeRecord:
    """Columns of one row of `incarnations` that changed; None leaves a column as it is.

    `evidence` is added to what is there, key by key: the facts of the start and those of the end
    stand together.
    """

    path: Path
    incarnation: int
    started_s: float | None = None
    ready_s: float | None = None
    ended_s: float | None = None
    pid: int | None = None
    node: str | None = None
    reason_kind: str | None = None
    reason_detail: str | None = None
    log: str | None = None
    evidence: Json | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one life."""

    path: Path
    incarnation: int
    at_s: float
    memory_bytes: int | None = None
    cpu_cores: float | None = None
    processes: int | None = None
    open_files: int | None = None
    disk_bytes: int | None = None
    status: str | None = None
    progress_done: float | None = None
    progress_total: float | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """All that one step changes; written in one transaction or not at all.

    Args:
        nodes: the new states of nodes that are there.
        rows: every node, when the tree has become another one; then `nodes` is not looked at.
        info: facts to be merged into the pipeline's info.
    """

    at_s: float
    nodes: Mapping[Path, Json] = field(default_factory=dict)
    rows: Sequence[NodeRow] | None = None
    info: Json | None = None
    journal: Sequence[JournalEntry] = ()
    lives: Sequence[LifeRecord] = ()
    answers: Sequence[Answer] = ()
    pipeline_state: str | None = None


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """What a person asked for and nobody answered yet."""

    id: int
    verb: str
    path: Path
    args: Json


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node as it is first written at launch.

    Args:
        path, parent: full paths; parent is "" for the root.
        kind: "supervisor", "task" or "service".
        position: index among its siblings.
        spec: what `show` may print: the spec as JSON, environment values left out.
        state: the encoded node state.
    """

    path: Path
    parent: Path
    kind: str
    position: int
    spec: Json
    state: Json


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that owns a pipeline; alive while pid, its start time and the boot agree."""

    pid: int
    started_ticks: int
    boot_id: str
    token: str
    parent_pid: int


class Blueprints(Protocol):
    """Where specs lie that hold secrets, and so must never touch the store."""

    def wanted(self, request: PendingRequest, declared: SupervisorSpec) -> SupervisorSpec:
        """Return the spec that a request asks for, given the present one.

        Raises:
            SupervisorError: what was asked for cannot be, or is not there any more.
        """

    def segments(self, standing: SupervisorSpec) -> Mapping[Path, SegmentSpec]:
        """Return every segment with its ports resolved to numbers; the same ones every time."""

    def keep(self, declared: SupervisorSpec, standing: SupervisorSpec) -> Json:
        """Lay specs where the next daemon finds them.

        Args:
            declared: what the tree shall be.
            standing: that, with the nodes that leave still in it.

        Returns:
            Facts for the pipeline's info; once they are saved, these specs are the ones.
        """


class Store(Protocol):
    """Holds one pipeline's truth. `save` is atomic; after it returns, a crash loses nothing.

    Every writing method raises LostOwnership when the pipeline now belongs to another token, and
    StoreError when the database cannot be used.
    """

    def claim(self, owner: Owner) -> None:
        """Become the owner; AlreadyRunning if a living one exists."""

    def disown(self) -> None:
        """Give ownership back; the rows stay. Harmless when it was lost already."""

    def create(self, rows: Sequence[NodeRow], info: Json, at_s: float) -> None:
        """Begin a new launch: replace all nodes of the pipeline, keep its history.

        Requests that an earlier launch left unanswered are refused with the code `superseded`.
        """

    def load_states(self) -> Mapping[Path, Json]:
        """Return the encoded state of every node; empty when there was no launch."""

    def load_info(self) -> Json:
        """Return what `create` and `note` were given (clock offset, Ray address, file, ...)."""

    def note(self, info: Json) -> None:
        """Merge facts into the pipeline's info."""

    def save(self, commit: Commit) -> None:
        """Write one step."""

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Write measurements; old ones are thinned so that their number stays bounded."""

    def pending_requests(self) -> Sequence[PendingRequest]:
        """Return unanswered requests, oldest first."""

    def last_incarnation(self, path: Path) -> int:
        """Return the highest number ever used for that path, 0 if none; survives relaunches."""

    def last_moment(self) -> Moment | None:
        """Return when the newest line of the journal was written; None if there is none."""

    def ports(self, wanted: Mapping[str, int]) -> Mapping[str, int]:
        """Return the remembered port of each name, after adding those not yet remembered."""

    def taken_ports(self) -> frozenset[int]:
        """Return every port remembered for any pipeline, so that a new one gets another."""

    def close(self) -> None:
        """Close the database."""


# ------------------------------------------------------------------------------------------ clock


class Clock(Protocol):
    """Seconds that never go backwards and stay comparable over restarts of the daemon."""

    def now_s(self) -> float:
        """Return the steady time, near Unix time when the pipeline was launched."""


# ---------------------------------------------------------------------------------------- limiter


@dataclass(frozen=True, slots=True)
class Usage:
    """What one life's whole process tree uses now; None where it could not be measured."""

    memory_bytes: int | None = None
    peak_memory_bytes: int | None = None
    cpu_s: float | None = None
    processes: int | None = None
    open_files: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """What the body's process must do to itself before it executes anything else.

    Args:
        join: files to write the process id 0 (itself) to, in this order.
        rlimits: resource name (`RLIMIT_NOFILE`) -> soft and hard limit.
        nice: absolute nice value.
        oom_score_adj: -1000..1000.
        cores: cpu numbers to be pinned to; empty for all.
    """

    join: Sequence[str] = ()
    rlimits: Mapping[str, int] = field(default_factory=dict)
    nice: int = 0
    oom_score_adj: int = 0
    cores: Sequence[int] = ()


class Enclosure(Protocol):
    """What holds one life: a cgroup of its own, or rlimits and sampling."""

    @property
    def entry(self) -> Entry:
        """What the body does to itself on its way in."""

    @property
    def enforcement(self) -> Mapping[str, str]:
        """Quota name -> "kernel", "sampled" or "none", for every declared quota."""

    @property
    def name(self) -> str:
        """What to show a person: the cgroup's path, or "rlimit"."""

    def usage(self, body_pid: int) -> Usage:
        """Measure the whole tree of the body, children that left its session included."""

    def adjust(self, spec: SegmentSpec) -> None:
        """Change the limits of this life that can be changed while it lives; OSError if refused."""

    def breach(self, usage: Usage) -> str | None:
        """Return the name of the first sampled quota that this usage is over, or None."""

    def oom_kills(self) -> int:
        """Return how many processes of this life the kernel killed for memory so far."""

    def oom_event_fd(self) -> int | None:
        """Return a descriptor that becomes readable when the kernel is about to kill for memory.

        None where the kernel kills the whole life by itself, or does not tell. The enclosure owns
        it: `remove` closes it.
        """

    def counters(self) -> Json:
        """Return what else was counted and a person may want to know, as evidence."""

    def pids(self, body_pid: int) -> Sequence[int]:
        """Return every process of this life."""

    def kill_all(self, body_pid: int) -> None:
        """End every process of this life; returns when none is left or raises TimeoutError."""

    def remove(self) -> None:
        """Remove what was made for this life; nothing may live in it any more."""


class Limiter(Protocol):
    """Makes enclosures on one node."""

    @property
    def mode(self) -> str:
        """Which mechanism: "cgroup2", "cgroup1" or "rlimit"."""

    def holds(self, quota: str) -> str:
        """Return how this node would hold that quota: "kernel", "sampled" or "none"."""

    def enclose(self, path: Path, incarnation: int, spec: SegmentSpec, token: str) -> Enclosure:
        """Make room for one life; `token` marks its processes in their environment."""

    def sweep(self, pipeline: str, keep: Mapping[Path, int]) -> Sequence[str]:
        """Kill and remove what lives outside `keep` left behind; return what was removed."""
