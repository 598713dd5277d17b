"""A small world for drivers: bodies in memory that outlive the driver, and a person who asks.

The world survives a crash of the driver as cells and bodies survive that of a daemon: `crashes`
names the calls through a port that raise, before or after they were carried out, and `begin` opens
a new driver over what is left. Nothing here sleeps; time moves when a test says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from supervisor.adapters.fake_backend import Behaviour, FakeBackend, FakeCells, FakeLife, stays
from supervisor.adapters.memory_store import MemoryDatabase, MemoryStore
from supervisor.core.actions import Answer
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import Path, SegmentSpec, SupervisorSpec
from supervisor.errors import SpecLost
from supervisor.runtime.clock import ManualClock
from supervisor.runtime.driver import Driver, Outside
from supervisor.runtime.executor import Executor, Places, segments_of
from supervisor.runtime.inbox import Inbox
from supervisor.runtime.opening import open_new, reopen
from supervisor.runtime.ports import Owner, PendingRequest, StartOrder

KILLED = ExitReason(ExitKind.SIGNAL, "SIGKILL")
COMPLETED = ExitReason(ExitKind.COMPLETED)
OOM = ExitReason(ExitKind.OOM)


class CrashNow(BaseException):
    """The daemon is gone, here and now; nobody catches this."""


class Bodies(FakeCells):
    """Bodies that do what the test says, and the orders that all daemons gave them."""

    def __init__(self) -> None:
        super().__init__(self._behave)
        self.behaves: Callable[[StartOrder], Behaviour] = stays
        self.orders: list[tuple[str, Path, int]] = []
        self.saved_tokens: list[int] = []
        self.on_saved: Callable[[Path], None] = lambda _: None
        self.on_start: Callable[[StartOrder], None] = lambda _: None
        """Told of every order to start, before it is carried out; may raise."""

    @property
    def ever_begun(self) -> int:
        """How many bodies there have been."""
        return self._begun

    def is_deaf(self, path: Path) -> None:
        """From now on that body ignores a stop."""
        life = self.life(path)
        assert life is not None
        life.behaviour = Behaviour(obeys=False)

    def leave_over(self, path: Path) -> None:
        """Have a body of that segment of which no daemon knows."""
        self._lives[path] = FakeLife(path, 1, 1, Behaviour())

    def _behave(self, order: StartOrder) -> Behaviour:
        return self.behaves(order)

    def nobody_listens(self) -> None:
        """The daemon is gone, and what happens is told to nobody."""
        self.watcher = lambda _: None


class Backend(FakeBackend):
    """One daemon's way to the bodies."""

    def __init__(self, bodies: Bodies) -> None:
        super().__init__(bodies)
        self._bodies = bodies
        self.orders = bodies.orders

    def start(self, order: StartOrder) -> None:
        self._bodies.on_start(order)
        super().start(order)

    def saved(self, path: Path, token: int) -> None:
        self._bodies.on_saved(path)
        self._bodies.saved_tokens.append(token)
        super().saved(path, token)


class Drawer:
    """`ports.Blueprints` in memory; what is kept outlives the driver.

    Args:
        spec: what was launched.
    """

    def __init__(self, spec: SupervisorSpec) -> None:
        self.kept = {0: (spec, spec)}
        self._put: dict[str, SupervisorSpec] = {}

    def put(self, spec: SupervisorSpec) -> str:
        """Lay down what a person wants; return the key for the request."""
        key = f"key {len(self._put)}"
        self._put[key] = spec
        return key

    def wanted(self, request: PendingRequest, declared: SupervisorSpec) -> SupervisorSpec:
        del declared
        if request.args.get("parcel") not in self._put:
            raise SpecLost("it is not here")
        return self._put[request.args["parcel"]]

    def segments(self, standing: SupervisorSpec) -> dict[Path, SegmentSpec]:
        return segments_by_path(standing)

    def keep(self, declared: SupervisorSpec, standing: SupervisorSpec) -> dict[str, Any]:
        generation = len(self.kept)
        self.kept[generation] = (declared, standing)
        return {"generation": generation}


def segments_by_path(spec: SupervisorSpec) -> dict[Path, SegmentSpec]:
    """Return every segment of a tree."""
    return dict(segments_of(spec))


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
        self.drawer = Drawer(spec)

    @property
    def contents(self) -> Any:
        """What is in the store."""
        return self.store.contents

    def open(self) -> Driver:
        """Open a driver as a daemon does: a launch that is in the store is resumed."""
        store = self._claimed_store()
        executor = Executor(
            backend=Crashing(Backend(self.bodies), self, "backend"),
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
            blueprints=self.drawer,
            fingerprint=lambda path, name, value: f"{name} has {len(value)} letters",
        )
        self.store = store
        info = store.load_info()
        if info.get("launch") == "this":
            declared, standing = self.drawer.kept[info.get("generation", 0)]
            outside = replace(outside, executor=executor.with_segments(segments_by_path(standing)))
            self.driver = reopen(declared, outside, standing)
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

    def change(self, spec: SupervisorSpec) -> Answer:
        """Apply another spec as a person does, settle, and return the answer."""
        request = self.database.ask("apply", self.spec.name, {"parcel": self.drawer.put(spec)})
        self.settle()
        answer: Answer = self.contents.answers[request]
        return answer

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
