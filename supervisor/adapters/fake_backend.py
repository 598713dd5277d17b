"""Bodies in memory: the backend for tests and rehearsals, held to the same contract as Ray.

`FakeCells` is what outlives a daemon, `FakeBackend` is one daemon's way to it. Nothing happens by
itself: a body does at once what its `Behaviour` says, and the rest when a test says so. No thread,
no clock; notices arrive inside the call that caused them.
Read next: `tests/contract/test_backend.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supervisor.core.events import Exited, ExitKind, ExitReason, LifeEvent, Ready, Started
from supervisor.core.spec import Path, SegmentSpec
from supervisor.runtime.ports import Notice, StartOrder

FIRST_PID = 1000
STOPPED = ExitReason(ExitKind.STOPPED)
KILLED = ExitReason(ExitKind.SIGNAL, "SIGKILL")
LOST = ExitReason(ExitKind.NODE_LOST)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a body does without being told.

    Args:
        ready: whether it becomes ready.
        obeys: whether it goes when it is asked to.
        ends: how it ends right after it became ready; None stays.
    """

    ready: bool = True
    obeys: bool = True
    ends: ExitReason | None = None


def stays(_order: StartOrder) -> Behaviour:
    """Return a body that becomes ready and stays until it is stopped."""
    return Behaviour()


@dataclass(slots=True)
class FakeLife:
    """One body, or what its cell remembers of it.

    Args:
        told: its notices, each with a token, until they are saved.
        reason: how it ended; None while it lives.
    """

    path: Path
    incarnation: int
    pid: int
    behaviour: Behaviour
    told: list[Notice] = field(default_factory=list)
    reason: ExitReason | None = None


class FakeCells:
    """Every cell of one pipeline, whoever looks at them.

    Args:
        behaviour: what the body of an order does.
    """

    def __init__(self, behaviour: Callable[[StartOrder], Behaviour] = stays) -> None:
        self._behaviour = behaviour
        self._lives: dict[Path, FakeLife] = {}
        self._begun = 0
        self._token = 0
        self.watcher: Callable[[Notice], None] = _nobody
        """Hears of everything new; the newest backend."""

    @property
    def living(self) -> dict[Path, int]:
        """The incarnation of every living body."""
        return {path: life.incarnation for path, life in self._lives.items() if not life.reason}

    def life(self, path: Path) -> FakeLife | None:
        """Return the latest life of a path, ended or not, unless its cell is gone."""
        return self._lives.get(path)

    def begin(self, order: StartOrder) -> None:
        """Start a body; a life that began before goes on."""
        known = self._lives.get(order.path)
        if known is not None and known.incarnation >= order.incarnation:
            return
        assert known is None or known.reason, f"{order.path} would live twice"
        self._begun += 1
        life = FakeLife(
            order.path, order.incarnation, FIRST_PID + self._begun, self._behaviour(order)
        )
        self._lives[order.path] = life
        self._tell(life, Started(order.path, order.incarnation, life.pid, "memory"), pid=life.pid)
        if life.behaviour.ready:
            self._tell(life, Ready(order.path, order.incarnation))
        if life.behaviour.ends is not None:
            self.end(order.path, life.behaviour.ends)

    def end(self, path: Path, reason: ExitReason, **evidence: Any) -> None:
        """Let a living body end."""
        life = self._lives[path]
        if life.reason is None:
            life.reason = reason
            self._tell(life, Exited(path, life.incarnation, reason), **evidence)

    def say(self, event: LifeEvent, **evidence: Any) -> None:
        """Let the cell of a living body tell something about it."""
        self._tell(self._lives[event.path], event, **evidence)

    def measure(self, path: Path, **evidence: Any) -> None:
        """Let the cell of a body measure it."""
        self.watcher(Notice(None, path, self._lives[path].incarnation, evidence))

    def lose(self, path: Path) -> None:
        """Let the cell die, and with it its body and all that it had to tell."""
        life = self._lives.pop(path, None)
        if life is not None and life.reason is None:
            exited = Exited(path, life.incarnation, LOST)
            self.watcher(Notice(exited, path, life.incarnation, {"cell": "died"}))

    def remove(self, path: Path) -> None:
        """End a cell and its body; nobody is told."""
        self._lives.pop(path, None)

    def saved(self, path: Path, token: int) -> None:
        """Forget a life whose end was told under that token or an earlier one."""
        life = self._lives.get(path)
        if life is not None and life.reason is not None and life.told[-1].token <= token:
            life.told.clear()

    def _tell(self, life: FakeLife, event: LifeEvent, **evidence: Any) -> None:
        self._token += 1
        notice = Notice(event, life.path, life.incarnation, evidence, self._token)
        life.told.append(notice)
        self.watcher(notice)


class FakeBackend:
    """`ports.Backend` over bodies in memory.

    Args:
        cells: what lives; a second backend over the same cells is the next daemon.
    """

    def __init__(self, cells: FakeCells) -> None:
        self._cells = cells
        self._receive: Callable[[Notice], None] = _nobody
        self._ended: dict[Path, int] = {}
        self._begun: dict[Path, int] = {}
        self.orders: list[tuple[str, Path, int]] = []
        """Every order that was given, as (verb, path, incarnation)."""
        self.adjusted: dict[Path, SegmentSpec] = {}
        """The spec that a living body was held to last, where it was adjusted."""

    def listen(self, receive: Callable[[Notice], None]) -> None:
        """Hear of everything that is new from now on."""
        self._receive = receive
        self._cells.watcher = self._hear

    def prepare(self, orders: Sequence[tuple[Path, SegmentSpec]]) -> None:
        """Make nothing: these cells come up in no time."""
        self.orders += [("prepare", path, 0) for path, _ in orders]

    def start(self, order: StartOrder) -> None:
        """Begin a life; one that a daemon before this one began is taken over."""
        path, incarnation = order.path, order.incarnation
        self.orders.append(("start", path, incarnation))
        if incarnation <= max(self._begun.get(path, 0), self._ended.get(path, 0)):
            return
        self._begun[path] = incarnation
        life = self._cells.life(path)
        if life is not None and life.incarnation == incarnation:
            self._retell(life)
        else:
            self._cells.begin(order)

    def adjust(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        """Remember that a body was held to another spec."""
        self.orders.append(("adjust", path, incarnation))
        self.adjusted[path] = spec

    def adopt(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        """Tell all of a life again; without it, its end."""
        del spec
        self.orders.append(("adopt", path, incarnation))
        life = self._cells.life(path)
        if life is not None and life.incarnation == incarnation:
            self._retell(life)
            return
        self._cells.remove(path)
        self._hear(
            Notice(Exited(path, incarnation, LOST), path, incarnation, {"cell": "not found"})
        )

    def stop(self, path: Path, incarnation: int) -> None:
        """Ask the body to go."""
        self.orders.append(("stop", path, incarnation))
        life = self._cells.life(path)
        if life is not None and life.incarnation == incarnation and life.behaviour.obeys:
            self._cells.end(path, STOPPED)

    def kill(self, path: Path, incarnation: int) -> None:
        """End the body."""
        self.orders.append(("kill", path, incarnation))
        if self._cells.living.get(path) == incarnation:
            self._cells.end(path, KILLED)

    def release(self, path: Path) -> None:
        """Give the cell back."""
        self.orders.append(("release", path, 0))
        if path not in self._cells.living:
            self._cells.remove(path)

    def saved(self, path: Path, token: int) -> None:
        """Let the cell forget."""
        self._cells.saved(path, token)

    def sweep(self, keep: Mapping[Path, int]) -> None:
        """End every life that is not kept."""
        for path, incarnation in self._cells.living.items():
            if keep.get(path) != incarnation:
                self._cells.remove(path)

    def close(self, *, stop_cells: bool) -> None:
        """Hear nothing any more."""
        self.orders.append(("close", "", int(stop_cells)))
        self._cells.watcher = _nobody
        if stop_cells:
            self.sweep({})

    def _retell(self, life: FakeLife) -> None:
        for notice in tuple(life.told):
            self._hear(notice)

    def _hear(self, notice: Notice) -> None:
        """Pass a notice on; the end of a life only once."""
        if isinstance(notice.event, Exited):
            if notice.incarnation <= self._ended.get(notice.path, 0):
                return
            self._ended[notice.path] = notice.incarnation
        self._receive(notice)


def _nobody(_notice: Notice) -> None:
    """Hear nothing."""
