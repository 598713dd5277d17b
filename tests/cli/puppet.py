"""A daemon without Ray: the real driver, store and doorbell over bodies that only pretend.

Run as `python puppet.py HOME`, it launches the pipeline `puppets` and drives it until it is taken
down. A body does what its name says: `stubborn` ignores a stop, `broken` fails at once, `slow`
never becomes ready, `finisher` completes, anything else runs until it is stopped.
"""

from __future__ import annotations

import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from supervisor.adapters.sqlite_store import open_store
from supervisor.cli.home import Home
from supervisor.core.events import Exited, ExitKind, ExitReason, LifeEvent, Ready, Started
from supervisor.core.spec import (
    Backoff,
    Budget,
    Kind,
    Restart,
    SegmentSpec,
    Shutdown,
    SupervisorSpec,
)
from supervisor.daemon.wakeup import Doorbell
from supervisor.runtime.clock import SteadyClock
from supervisor.runtime.driver import Driver, Outside
from supervisor.runtime.executor import Executor, Places, segments_of
from supervisor.runtime.inbox import Inbox
from supervisor.runtime.opening import open_new
from supervisor.runtime.ports import Commit, Notice, StartOrder
from supervisor.runtime.process_identity import this_process

FIRST_PID = 100_000_000
"""Above what Linux gives, so that no real process is ever meant."""


def _service(name: str, **facts: object) -> SegmentSpec:
    return SegmentSpec(name, kind=Kind.SERVICE, restart=Restart.PERMANENT, **facts)


PUPPETS = SupervisorSpec(
    "puppets",
    children=(
        _service("serve"),
        _service("stubborn", shutdown=Shutdown(grace_s=0.4)),
        SegmentSpec("finisher"),
        SegmentSpec("broken", budget=Budget(0), restart=Restart.TRANSIENT),
        SegmentSpec("flaky", backoff=Backoff(first_s=600.0, max_s=600.0)),
        SegmentSpec("later", after=("puppets/slow",)),
        SupervisorSpec("pair", children=(_service("left"), _service("right"))),
        _service("slow", start_timeout_s=600.0, shutdown=Shutdown(grace_s=0.0)),
        _service("last"),
    ),
)


class Puppets:
    """`ports.Backend` over nothing at all."""

    def __init__(self) -> None:
        self._living: dict[str, int] = {}
        self._receive: Callable[[Notice], None] = lambda _: None

    def listen(self, receive: Callable[[Notice], None]) -> None:
        self._receive = receive

    def prepare(self, orders: Sequence[tuple[str, SegmentSpec]]) -> None:
        """Nothing is needed."""

    def start(self, order: StartOrder) -> None:
        path, number = order.path, order.incarnation
        name = path.rpartition("/")[2]
        self._living[path] = number
        self._tell(Started(path, number, FIRST_PID + number, "stage"))
        if name != "slow":
            self._tell(Ready(path, number))
        if name == "finisher":
            self._end(path, number, ExitKind.COMPLETED)
        if name in ("broken", "flaky"):
            self._end(path, number, ExitKind.EXIT, "3")

    def adopt(self, path: str, incarnation: int, spec: SegmentSpec) -> None:
        self._end(path, incarnation, ExitKind.NODE_LOST)

    def stop(self, path: str, incarnation: int) -> None:
        if not path.endswith("stubborn"):
            self._end(path, incarnation, ExitKind.STOPPED)

    def kill(self, path: str, incarnation: int) -> None:
        self._end(path, incarnation, ExitKind.STOPPED)

    def release(self, path: str) -> None:
        """There is no cell."""

    def saved(self, path: str, token: int) -> None:
        """Nothing is kept."""

    def sweep(self, keep: Mapping[str, int]) -> None:
        """Nothing was left behind."""

    def close(self, *, stop_cells: bool) -> None:
        """There is no cell."""

    def _end(self, path: str, number: int, kind: ExitKind, detail: str = "") -> None:
        if self._living.pop(path, 0) == number:
            self._tell(Exited(path, number, ExitReason(kind, detail)))

    def _tell(self, event: LifeEvent) -> None:
        self._receive(Notice(event, event.path, event.incarnation))


def run(home: Home) -> None:
    """Launch and drive until everything is down."""
    store = open_store(home.root, PUPPETS.name)
    me = this_process("puppet")
    store.claim(dataclasses.replace(me, parent_pid=me.pid))
    clock = SteadyClock.resume({}, None)
    inbox = Inbox(clock)
    executor = Executor(
        backend=Puppets(),
        segments=dict(segments_of(PUPPETS)),
        places=Places(home.segment),
        environment={},
    )
    outside = Outside(store=store, clock=clock, executor=executor, inbox=inbox)
    facts = {**clock.facts(), "file": "puppets.yaml", "launch": "one"}
    driver: Driver = open_new(PUPPETS, facts, outside)
    with Doorbell(home.root, PUPPETS.name, inbox.knock):
        print("up", flush=True)
        driver.run(leave_when_failed=False)
    store.save(Commit(clock.now_s(), pipeline_state="down"))
    time.sleep(0.3)  # a real daemon ends its Ray here
    store.disown()
    store.close()
    assert threading.active_count() == 1


if __name__ == "__main__":
    run(Home(Path(sys.argv[1])))
