"""A small world for drivers: bodies in memory that outlive the driver, and a person who asks.

The world survives a crash of the driver as cells and bodies survive that of a daemon: `crashes`
names the calls through a port that raise, before or after they were carried out, and `begin` opens
a new driver over what is left. Nothing here sleeps; time moves when a test says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from supervisor.adapters.memory_store import MemoryDatabase, MemoryStore
from supervisor.core.events import Exited, ExitKind, ExitReason, LifeEvent, Ready, Started
from supervisor.core.spec import Path, SegmentSpec, SupervisorSpec
from supervisor.runtime.clock import ManualClock
from supervisor.runtime.driver import Driver, Outside
from supervisor.runtime.executor import Executor, Places, segments_of
from supervisor.runtime.inbox import Inbox
from supervisor.runtime.opening import open_new, reopen
from supervisor.runtime.ports import Notice, Owner, StartOrder

STOPPED = ExitReason(ExitKind.STOPPED)
KILLED = ExitReason(ExitKind.SIGNAL, "SIGKILL")
COMPLETED = ExitReason(ExitKind.COMPLETED)
OOM = ExitReason(ExitKind.OOM)


class CrashNow(BaseException):
    """The daemon is gone, here and now; nobody catches this."""


@dataclass
class Life:
    """One body, or the result that its cell still keeps."""

    incarnation: int
    ended: ExitReason | None = None
    token: int = 0
    evidence: dict[str, Any] = field(default_factory=dict)


class Bodies:
    """A backend whose bodies do what the test says."""

    def __init__(self) -> None:
        self.lives: dict[Path, Life] = {}
        self.orders: list[tuple[str, Path, int]] = []
        self.saved_tokens: list[int] = []
        self.deaf: set[Path] = set()
        """Bodies that ignore a stop."""
        self.unready: set[Path] = set()
        """Bodies that never become ready."""
        self.broken: dict[Path, Exception] = {}
        """Segments whose start raises."""
        self.twice_alive: list[Path] = []
        """Segments that had two living bodies at once: must stay empty."""
        self.released: list[Path] = []
        self._receive: Callable[[Notice], None] = lambda _: None
        self._tokens = 0

    # ------------------------------------------------------------------------- what bodies do

    def ends(self, path: Path, reason: ExitReason, **evidence: Any) -> None:
        """Let the living body of that segment end."""
        life = self.lives[path]
        if life.ended is None:
            self._tokens += 1
            life.ended, life.token, life.evidence = reason, self._tokens, evidence
            self._tell_end(path, life)

    def measures(self, path: Path, **evidence: Any) -> None:
        """Let the cell of that segment measure."""
        self._receive(Notice(None, path, self.lives[path].incarnation, evidence))

    def says(self, event: LifeEvent, **evidence: Any) -> None:
        """Let the backend say anything."""
        self._receive(Notice(event, event.path, event.incarnation, evidence))

    @property
    def living(self) -> dict[Path, int]:
        return {path: life.incarnation for path, life in self.lives.items() if life.ended is None}

    # ------------------------------------------------------------------------------- the port

    def listen(self, receive: Callable[[Notice], None]) -> None:
        self._receive = receive

    def prepare(self, orders: Sequence[tuple[Path, SegmentSpec]]) -> None:
        self.orders += [("prepare", path, 0) for path, _ in orders]

    def start(self, order: StartOrder) -> None:
        self.orders.append(("start", order.path, order.incarnation))
        if order.path in self.broken:
            raise self.broken[order.path]
        life = self.lives.get(order.path)
        if life is None or life.incarnation != order.incarnation:
            if life is not None and life.ended is None:
                self.twice_alive.append(order.path)
            life = self.lives[order.path] = Life(order.incarnation)
        self._tell_all(order.path, life)

    def adopt(self, path: Path, incarnation: int, spec: SegmentSpec) -> None:
        self.orders.append(("adopt", path, incarnation))
        life = self.lives.get(path)
        if life is None or life.incarnation != incarnation:
            self._receive(
                Notice(Exited(path, incarnation, ExitReason(ExitKind.NODE_LOST)), path, incarnation)
            )
        else:
            self._tell_all(path, life)

    def stop(self, path: Path, incarnation: int) -> None:
        self.orders.append(("stop", path, incarnation))
        if path not in self.deaf and self.living.get(path) == incarnation:
            self.ends(path, STOPPED)

    def kill(self, path: Path, incarnation: int) -> None:
        self.orders.append(("kill", path, incarnation))
        if self.living.get(path) == incarnation:
            self.ends(path, KILLED)

    def release(self, path: Path) -> None:
        self.released.append(path)

    def saved(self, path: Path, token: int) -> None:
        self.saved_tokens.append(token)

    def sweep(self, keep: Mapping[Path, int]) -> None:
        for path, incarnation in self.living.items():
            if keep.get(path) != incarnation:
                self.lives[path].ended = KILLED

    def close(self, *, stop_cells: bool) -> None:
        self.orders.append(("close", "", int(stop_cells)))

    def _tell_all(self, path: Path, life: Life) -> None:
        number = life.incarnation
        evidence = {"cgroup": f"/{path}", "enforcement": {"memory": "kernel"}}
        self._receive(Notice(Started(path, number, 4000 + number, "n"), path, number, evidence))
        if path not in self.unready:
            self._receive(Notice(Ready(path, number), path, number))
        if life.ended is not None:
            self._tell_end(path, life)

    def _tell_end(self, path: Path, life: Life) -> None:
        assert life.ended is not None
        event = Exited(path, life.incarnation, life.ended)
        self._receive(Notice(event, path, life.incarnation, life.evidence, life.token))


class Crashing:
    """A port whose calls are counted, and one of which ends the daemon."""

    def __init__(self, port: Any, world: World, name: str) -> None:
        self._port = port
        self._world = world
        self._name = name

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._port, name)
        if not callable(attribute) or name == "listen":
            return attribute

        def call(*args: Any, **named: Any) -> Any:
            self._world.pass_point(f"before {self._name}.{name}")
            result = attribute(*args, **named)
            self._world.pass_point(f"after {self._name}.{name}")
            return result

        return call


class World:
    """Everything around one pipeline's driver.

    Args:
        spec: the pipeline.
    """

    def __init__(self, spec: SupervisorSpec) -> None:
        self.spec = spec
        self.clock = ManualClock()
        self.database = MemoryDatabase()
        self.bodies = Bodies()
        self.points: list[str] = []
        self.crashes: set[int] = set()
        self.store = self._claimed_store()
        self.pauses: list[float] = []
        self.saves_shown = 0
        self._lives_of_daemon = 0

    @property
    def contents(self) -> Any:
        """What is in the store."""
        return self.store.contents

    def open(self) -> Driver:
        """Open a driver as a daemon does: a launch that is in the store is resumed."""
        store = self._claimed_store()
        executor = Executor(
            backend=Crashing(self.bodies, self, "backend"),
            segments=dict(segments_of(self.spec)),
            places=Places(lambda path: f"/psup/{path}"),
            environment={"HOME": "/home/ann"},
        )
        self.inbox = Inbox(self.clock)
        outside = Outside(
            store=Crashing(store, self, "store"),
            clock=self.clock,
            executor=executor,
            inbox=self.inbox,
            on_saved=self._show,
            pause=self._pause,
        )
        self.store = store
        if store.load_info().get("launch") == "this":
            self.driver = reopen(self.spec, outside)
        else:
            self.driver = open_new(self.spec, {"launch": "this"}, outside)
        return self.driver

    def settle(self) -> None:
        """Take turns until nobody has anything to say; a crash is followed by a new daemon."""
        for _ in range(1000):
            try:
                self.inbox.knock()
                self.driver.turn()
                if self.inbox.is_empty():
                    return
            except CrashNow:
                self.begin()
        raise AssertionError("the world does not come to rest")

    def begin(self) -> None:
        """Open a driver, again and again until one gets through its opening."""
        while True:
            try:
                self.open()
            except CrashNow:
                continue
            return

    def advance(self, seconds: float) -> None:
        """Let time pass, and let everything that becomes due happen."""
        self.clock.advance(seconds)
        self.settle()

    def ask(self, verb: str, path: Path) -> int:
        """Ask as a person does, and settle."""
        request = self.database.ask(verb, path)
        self.settle()
        return request

    def state(self, path: Path) -> Any:
        """Return a node's encoded state as it is in the store."""
        return self.contents.nodes[path].state

    def life(self, path: Path, incarnation: int) -> Any:
        """Return the record of one life."""
        return self.contents.lives[path, incarnation]

    def orders(self, *verbs: str) -> list[tuple[str, Path, int]]:
        """Return the orders with these verbs, in order."""
        return [order for order in self.bodies.orders if order[0] in verbs]

    def pass_point(self, name: str) -> None:
        """Note that a port was called; crash if this is the place."""
        self.points.append(name)
        if len(self.points) in self.crashes:
            raise CrashNow(name)

    def _claimed_store(self) -> MemoryStore:
        store = MemoryStore(
            self.spec.name, self.database, is_alive=lambda _: False, wall_s=self.clock.now_s
        )
        token = f"daemon {len(self.points)} {id(store)}"
        store.claim(Owner(1, 1, "boot", token, 0))
        return store

    def _show(self) -> None:
        self.saves_shown += 1

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)
