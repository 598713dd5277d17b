"""What a cell has to tell, kept until the daemon has saved it.

A task may complete while no daemon is there: its result must wait. Measurements need no such care,
only the newest is kept. Thread-safe. Read next: `cell.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor.core.codec import encode_event
from supervisor.core.events import Exited, LifeEvent


@dataclass(frozen=True, slots=True)
class Entry:
    """One numbered notice."""

    n: int
    incarnation: int
    event: LifeEvent | None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the notice as it travels to the backend."""
        return {
            "n": self.n,
            "event": None if self.event is None else encode_event(self.event),
            "incarnation": self.incarnation,
            "evidence": dict(self.evidence),
        }


class Outbox:
    """Numbered notices of one cell.

    The events of a life are kept together: they are forgotten once its `Exited` is saved, so that a
    new daemon that reads from the start hears the whole story of every life that still matters.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[Entry] = []
        self._measurement: Entry | None = None
        self._last = 0
        self._watcher = 0
        self._closed = False
        self._crash: BaseException | None = None

    @property
    def last(self) -> int:
        """The number of the newest notice."""
        return self._last

    def tell(self, event: LifeEvent, evidence: Mapping[str, Any]) -> None:
        """Keep an event and wake the watcher."""
        with self._changed:
            self._last += 1
            self._events.append(Entry(self._last, event.incarnation, event, evidence))
            if isinstance(event, Exited):
                self._measurement = None
            self._changed.notify_all()

    def measure(self, incarnation: int, evidence: Mapping[str, Any]) -> None:
        """Replace the measurement and wake the watcher."""
        with self._changed:
            self._last += 1
            self._measurement = Entry(self._last, incarnation, None, evidence)
            self._changed.notify_all()

    def watch(self, after: int) -> list[dict[str, Any]]:
        """Wait until there are notices numbered above `after`, and return them in order.

        Only the newest watcher waits: an older one, whose daemon has gone, returns empty-handed.
        So do all when the cell closes.

        Raises:
            RuntimeError: the cell is broken; its body has been killed.
        """
        with self._changed:
            self._watcher += 1
            turn = self._watcher
            self._changed.notify_all()
            while not (found := self._above(after)) and turn == self._watcher and not self._closed:
                self._changed.wait()
            if self._crash is not None:
                raise RuntimeError("the cell is broken") from self._crash
            return [entry.as_json() for entry in found]

    def saved(self, n: int) -> None:
        """Forget the lives whose `Exited` is numbered `n` or lower."""
        with self._changed:
            over = {
                entry.incarnation
                for entry in self._events
                if entry.n <= n and isinstance(entry.event, Exited)
            }
            self._events = [entry for entry in self._events if entry.incarnation not in over]

    def break_off(self, error: BaseException) -> None:
        """Have every watcher, now and later, meet this error."""
        with self._changed:
            self._crash = error
            self._closed = True
            self._changed.notify_all()

    def close(self) -> None:
        """Send every watcher home."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _above(self, after: int) -> list[Entry]:
        found = [entry for entry in self._events if entry.n > after]
        if self._measurement is not None and self._measurement.n > after:
            found.append(self._measurement)
        return sorted(found, key=lambda entry: entry.n)
