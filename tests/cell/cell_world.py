"""A cell with a real limiter in a test's own folder, and the words to ask it things."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.cell import Cell, order_to_json
from supervisor.core.codec import decode_event
from supervisor.core.events import Event, ExitReason
from supervisor.core.spec import Body, Health, Kind, Quota, SegmentSpec, Shutdown
from supervisor.daemon.node import make_limiter
from supervisor.runtime.ports import StartOrder

BODIES = Path(__file__).parent / "bodies"
MIB = 1024**2
SEGMENT = "zoo/pen/beast"


class CellWorld:
    """One cell, its orders and its news."""

    def __init__(self, folder: Path, mode: str, *, run_folder: Path, path: str = SEGMENT) -> None:
        self.folder = folder
        self.path = path
        self.scope = folder.name[-20:].replace("/", "")
        self.limiter = make_limiter(mode=mode, scope=self.scope)
        self.cell = Cell(
            path, limiter=self.limiter, run_folder=str(run_folder), node="here", scope=self.scope
        )
        self.incarnation = 0
        self.seen = 0
        self.news: list[tuple[Event | None, Mapping[str, Any]]] = []

    def order(
        self,
        incarnation: int,
        run: str | None = None,
        *,
        command: tuple[str, ...] | None = None,
        kind: Kind = Kind.TASK,
        health: Health | None = None,
        environment: Mapping[str, str] | None = None,
        body_folder: Path = BODIES,
        ports: Mapping[str, int] | None = None,
        shutdown: Shutdown | None = None,
        last_exit: ExitReason | None = None,
        params: Mapping[str, Any] | None = None,
        **quota: Any,
    ) -> StartOrder:
        """Return an order with folders of this test's."""
        target = run if run is None or ":" in run else f"misbehave:{run}"
        spec = SegmentSpec(
            name=self.path.rsplit("/", 1)[-1],
            kind=kind,
            quota=Quota(**quota),
            health=health or Health(),
            shutdown=shutdown or Shutdown(),
            body=Body(
                run=target,
                command=command,
                folder=str(body_folder),
                ports=ports or {},
                params=params or {},
            ),
        )
        return StartOrder(
            path=self.path,
            incarnation=incarnation,
            spec=spec,
            attempt=1,
            last_exit=last_exit,
            environment={"PATH": os.environ["PATH"], **(environment or {})},
            scratch=str(self.folder / "scratch" / str(incarnation)),
            checkpoint=str(self.folder / "checkpoint"),
            log=str(self.folder / "logs" / f"{incarnation}.log"),
        )

    def start(self, run: str | None = None, **wishes: Any) -> int:
        """Order the next life to start."""
        self.incarnation += 1
        self.cell.start(order_to_json(self.order(self.incarnation, run, **wishes)))
        return self.incarnation

    def until(self, kind: type[Event] | None) -> tuple[Any, Mapping[str, Any]]:
        """Wait for the next event of that type (None: a measurement); return it with evidence."""
        while True:
            while self.news:
                event, evidence = self.news.pop(0)
                if (event is None) if kind is None else isinstance(event, kind):
                    return event, evidence
            for notice in self.cell.watch(self.seen):
                self.seen = notice["n"]
                encoded = notice["event"]
                event = None if encoded is None else decode_event(encoded)
                self.news.append((event, notice["evidence"]))

    def log(self, incarnation: int | None = None) -> str:
        """Return what a life wrote."""
        return (self.folder / "logs" / f"{incarnation or self.incarnation}.log").read_text()
