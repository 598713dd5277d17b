"""A hand-made `Context`: the segments of the digits pipeline run in tests without a supervisor."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class StandIn:
    """What `supervisor.body.Context` offers to a segment, kept in memory for the test to read."""

    def __init__(self, data: Path, *, ports: dict[str, int] | None = None, **params: Any) -> None:
        self.data = data
        self.checkpoint = data.parent / "checkpoint"
        self.checkpoint.mkdir(parents=True, exist_ok=True)
        self.params = params
        self.incarnation = 1
        self.stopping = threading.Event()
        self.logger = logging.getLogger("segment")
        self.statuses: list[str] = []
        self.reports: list[tuple[float, float]] = []
        self.heartbeats = 0
        self.listening = threading.Event()
        self.on_progress: Callable[[float], None] = lambda _done: None
        self.on_status: Callable[[str], None] = lambda _text: None
        self._ports = ports or {}

    def port(self, name: str = "http") -> int:
        return self._ports[name]

    def port_of(self, _segment: str, name: str = "http") -> int:
        return self._ports[name]

    def progress(self, done: float, total: float) -> None:
        self.reports.append((done, total))
        self.on_progress(done)

    def heartbeat(self) -> None:
        self.heartbeats += 1

    def status(self, text: str) -> None:
        self.statuses.append(text)
        if text.startswith("listening"):
            self.listening.set()
        self.on_status(text)
