"""Stages for the backend contract: the same bodies in memory and as real processes on Ray.

A world outlives backends as cells outlive daemons; a stage is one test's part of it. Tests share a
world, because a Ray that knows its driver has idle workers, and so each cell comes up at once.
"""

from __future__ import annotations

import itertools
import os
import queue
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from supervisor.adapters.embedded_ray import EmbeddedRay
from supervisor.adapters.fake_backend import Behaviour, FakeBackend, FakeCells
from supervisor.core.events import Exited, ExitKind, ExitReason, LifeEvent, Ready, Started
from supervisor.core.spec import Body, SegmentSpec, Shutdown
from supervisor.runtime.ports import Backend, Notice, StartOrder

PATIENCE_S = 30.0
DEAF = (
    "import signal, time;"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)"
)
WITH_CHILD = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen(['sleep', '1000'], start_new_session=True);"
    "print(child.pid, flush=True); time.sleep(1000)"
)
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "serve": ("sleep", "1000"),
    "complete": ("true",),
    "fail": ("sh", "-c", "exit 3"),
    "deaf": (sys.executable, "-S", "-c", DEAF),
    "with_child": (sys.executable, "-S", "-c", WITH_CHILD),
}
"""What bodies there are, and the program that is each of them on Ray."""
IN_MEMORY = {
    "serve": Behaviour(),
    "complete": Behaviour(ends=ExitReason(ExitKind.COMPLETED)),
    "fail": Behaviour(ends=ExitReason(ExitKind.EXIT, "3")),
    "deaf": Behaviour(obeys=False),
    "with_child": Behaviour(),
}


class World(ABC):
    """What outlives backends, and the backend of the day."""

    pipeline: str

    def __init__(self) -> None:
        self._backend: Backend | None = None
        self.receive: Callable[[Notice], None] = ignore

    @property
    def backend(self) -> Backend:
        """The daemon's backend; the first use opens it."""
        if self._backend is None:
            self._backend = self.open()
            self._backend.listen(self._hear)
        return self._backend

    def _hear(self, notice: Notice) -> None:
        self.receive(notice)

    def close_backend(self, *, stop_cells: bool) -> None:
        """Let the daemon go."""
        self.backend.close(stop_cells=stop_cells)
        self._backend = None

    @abstractmethod
    def open(self) -> Backend:
        """Return a backend as the next daemon would make it."""

    @abstractmethod
    def spec(self, path: str, body: str) -> SegmentSpec:
        """Return a segment with that body."""

    @abstractmethod
    def end_body(self, path: str, pid: int) -> None:
        """Kill the body from outside."""

    @abstractmethod
    def end_cell(self, path: str) -> None:
        """Kill the cell from outside."""

    @abstractmethod
    def is_alive(self, path: str, pid: int) -> bool:
        """Tell whether the body with that pid lives."""

    @abstractmethod
    def has_cell(self, path: str) -> bool:
        """Tell whether a cell of that path lives."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Tell whether no cell and no body is left."""


class Stage:
    """One test's part of a world: its own segments, and all that was said of them.

    Args:
        world: shared with other tests; they come one after the other.
        folder: for the files of bodies.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.folder = folder
        self.heard: list[Notice] = []
        self._news: queue.SimpleQueue[Notice] = queue.SimpleQueue()
        self._number = next(numbers)
        self._alive: dict[str, int] = {}
        world.receive = self._news.put

    @property
    def backend(self) -> Backend:
        return self.world.backend

    def next_daemon(self) -> None:
        """Let the daemon go away without a word, and forget what it heard."""
        self.world.close_backend(stop_cells=False)
        self._news = queue.SimpleQueue()
        self.world.receive = self._news.put
        self.heard.clear()

    def path(self, name: str) -> str:
        return f"{self.world.pipeline}/test-{self._number}/{name}"

    def spec(self, name: str, body: str = "serve") -> SegmentSpec:
        return self.world.spec(self.path(name), body)

    def start(self, name: str, incarnation: int = 1, body: str = "serve") -> None:
        here = self.folder / name
        self.backend.start(
            StartOrder(
                path=self.path(name),
                incarnation=incarnation,
                spec=self.spec(name, body),
                attempt=1,
                last_exit=None,
                environment=dict(os.environ),
                scratch=str(here / "scratch" / str(incarnation)),
                checkpoint=str(here / "checkpoint"),
                log=str(here / "logs" / f"{incarnation}.log"),
            )
        )

    def adopt(self, name: str, incarnation: int = 1, body: str = "serve") -> None:
        self.backend.adopt(self.path(name), incarnation, self.spec(name, body))

    def until(self, kind: type[LifeEvent], name: str, incarnation: int = 1) -> Notice:
        """Wait for one piece of news; everything else that comes is kept in `heard`."""
        wanted = (kind, self.path(name), incarnation)
        end_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                notice = self._news.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                said = [f"{one.event} {dict(one.evidence)}" for one in self.heard]
                raise AssertionError(f"waited for {wanted}, heard {said}") from None
            if notice.event is not None:
                self.heard.append(notice)
                self._keep_count(notice.event)
                if (type(notice.event), notice.path, notice.incarnation) == wanted:
                    return notice

    @property
    def ended(self) -> set[tuple[str, int]]:
        """Every life whose end was heard."""
        return {
            (one.path.rpartition("/")[2], one.incarnation)
            for one in self.heard
            if isinstance(one.event, Exited)
        }

    def reason(self, name: str, incarnation: int = 1) -> ExitReason:
        """Wait for the end of a life and return its cause."""
        event = self.until(Exited, name, incarnation).event
        assert isinstance(event, Exited)
        return event.reason

    def said(self, name: str, incarnation: int = 1) -> str:
        """Wait for the first line that a real body prints."""
        log = self.folder / name / "logs" / f"{incarnation}.log"
        assert eventually(lambda: log.exists() and log.read_text().endswith("\n")), log
        return log.read_text().strip()

    def settle(self) -> list[str]:
        """Make sure that nothing is under way, and return what was said of each life.

        A life of another segment goes all the way through: whatever was ordered or noticed before
        it has been dealt with when its end is heard. `Ready` is left out: a body may end before.
        """
        self.start("settle", incarnation := next(numbers), "complete")
        self.until(Exited, "settle", incarnation)
        return [
            f"{type(one.event).__name__} {one.path.rpartition('/')[2]}#{one.incarnation}"
            for one in self.heard
            if not one.path.endswith("/settle") and not isinstance(one.event, Ready)
        ]

    def forget(self, name: str) -> None:
        """Expect no more news of a life: it is to end without a word."""
        self._alive.pop(self.path(name))

    def close(self) -> None:
        """End what this test has left alive, and give its cells back."""
        for path, incarnation in tuple(self._alive.items()):
            self.backend.kill(path, incarnation)
            self.until(Exited, path.rpartition("/")[2], incarnation)
        for path in {one.path for one in self.heard}:
            self.backend.release(path)

    def _keep_count(self, event: LifeEvent) -> None:
        match event:
            case Started(path, incarnation):
                self._alive[path] = incarnation
            case Exited(path, incarnation) if self._alive.get(path) == incarnation:
                del self._alive[path]


numbers = itertools.count(1)
"""For pipelines and lives that no other test has used."""


class MemoryWorld(World):
    """Bodies in memory."""

    pipeline = "memory"

    def __init__(self) -> None:
        super().__init__()
        self._cells = FakeCells(lambda order: IN_MEMORY[(order.spec.body.command or ("",))[0]])

    def open(self) -> Backend:
        return FakeBackend(self._cells)

    def spec(self, path: str, body: str) -> SegmentSpec:
        return SegmentSpec(path.rpartition("/")[2], body=Body(command=(body,)))

    def end_body(self, path: str, pid: int) -> None:
        assert self.is_alive(path, pid)
        self._cells.end(path, ExitReason(ExitKind.SIGNAL, "SIGKILL"))

    def end_cell(self, path: str) -> None:
        self._cells.lose(path)

    def is_alive(self, path: str, pid: int) -> bool:
        life = self._cells.life(path)
        return life is not None and life.pid == pid and life.reason is None

    def has_cell(self, path: str) -> bool:
        return self._cells.life(path) is not None

    def is_empty(self) -> bool:
        return not self._cells.living


class RayWorld(World):
    """Processes, started by cells on the Ray of the test run."""

    pipeline = "contract"

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home
        self._embedded = EmbeddedRay(home / "ray", self.pipeline)

    def open(self) -> Backend:
        from supervisor.adapters.ray_backend import NodeSide, RayActors
        from supervisor.cell.fleet import Fleet
        from supervisor.daemon.node import LocalCell, home_scope, sweep_node

        node_side = NodeSide(LocalCell, sweep_node, {"scope": home_scope(str(self._home))})
        actors = RayActors(
            self.pipeline,
            node_side,
            address=self._embedded.join(print),
            environment=self._embedded.environment,
        )
        return Fleet(actors)

    def spec(self, path: str, body: str) -> SegmentSpec:
        return SegmentSpec(
            path.rpartition("/")[2],
            body=Body(command=PROGRAMS[body], folder=str(self._home)),
            shutdown=Shutdown(grace_s=5.0),
        )

    def end_body(self, path: str, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def end_cell(self, path: str) -> None:
        os.kill(next(self._cells(path)), signal.SIGKILL)

    def is_alive(self, path: str, pid: int) -> bool:
        return is_alive(pid)

    def has_cell(self, path: str) -> bool:
        return next(self._cells(path), None) is not None

    def _cells(self, path: str) -> Iterator[int]:
        """Yield the workers that are cells of that path."""
        titles = (f"ray::psup-cell {path}", f"ray::psup-cell {path}.watch")
        return (pid for pid in all_pids() if title_of(pid).rstrip("\0 ") in titles)

    def is_empty(self) -> bool:
        return not any(f"psup-cell {self.pipeline}/" in title_of(pid) for pid in all_pids())


def ignore(_notice: Notice) -> None:
    """Hear nothing between two tests."""


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def title_of(pid: int) -> str:
    """What `ps` shows of a process; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def eventually(question: Callable[[], Any]) -> bool:
    """Ask until the answer is yes."""
    end_s = time.monotonic() + PATIENCE_S
    while not question():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.01)
    return True
