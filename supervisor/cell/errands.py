"""One thread that does what it is told, in order: now, after a while, or when an answer is there.

Whoever keeps state that several threads touch lets this thread touch it alone. Knows nothing of
what it does. Read next: `fleet.py`.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

Errand = Callable[[], None]

_log = logging.getLogger(__name__)


class Errands:
    """A queue and the thread that works it off.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[Errand] = SimpleQueue()
        self._alarms: list[tuple[float, int, Errand]] = []
        self._numbers = itertools.count()
        self._over = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def soon(self, errand: Errand) -> None:
        """Have something done after everything asked before; from any thread."""
        self._queue.put(errand)

    def when(self, answer: Future[Any], errand: Callable[[Future[Any]], None]) -> None:
        """Have something done with a future when it is finished; from any thread."""
        answer.add_done_callback(lambda done: self.soon(partial(errand, done)))

    def later(self, after_s: float, errand: Errand) -> None:
        """Have something done after that many seconds; from the thread itself only."""
        heapq.heappush(self._alarms, (time.monotonic() + after_s, next(self._numbers), errand))

    def finish(self, last: Errand) -> None:
        """Do one last thing, and nothing that was to be done later; returns when it is done."""

        def end() -> None:
            self._over = True
            last()

        self.soon(end)
        self._thread.join()

    def _work(self) -> None:
        while not self._over:
            errand = self._next()
            try:
                errand()
            except Exception:  # noqa: BLE001  one errand's trouble must not keep others undone
                _log.exception("an errand failed")

    def _next(self) -> Errand:
        while self._alarms:
            left_s = self._alarms[0][0] - time.monotonic()
            if left_s <= 0:
                return heapq.heappop(self._alarms)[2]
            try:
                return self._queue.get(timeout=left_s)
            except Empty:
                continue
        return self._queue.get()
