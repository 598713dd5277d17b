"""Where news waits for the driver: put in from any thread, taken out by the driver alone.

Decides nothing and drops nothing. Measurements stand apart, because they change nothing and must
not wake anybody. Read next: `driver.py`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue

from supervisor.core.events import DrainRequested, LifeEvent
from supervisor.core.spec import Path
from supervisor.runtime.ports import Clock, Notice, Sample
from supervisor.runtime.recording import sample

_MOST_SAMPLES = 100_000


class Knock(Enum):
    """A word to the driver itself."""

    LOOK = "look"
    """There may be requests in the store."""
    HURRY = "hurry"
    """Go down without any more patience: kill what lives."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The way to the bodies is gone; only a fresh process can find a new one.

    Args:
        text: what happened, one sentence.
    """

    text: str


News = Notice | DrainRequested | Knock | Lost


class Inbox:
    """A queue that wakes the driver, and beside it the measurements, which do not.

    Args:
        clock: gives every measurement its time when it arrives, not when it is written.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: SimpleQueue[News] = SimpleQueue()
        self._first: list[News] = []
        self._samples: deque[Sample] = deque(maxlen=_MOST_SAMPLES)
        self._newest: dict[Path, Sample] = {}

    def receive(self, notice: Notice) -> None:
        """Take a backend's notice; the receiver for `Backend.listen`."""
        if notice.event is None and not notice.token:
            measured = sample(notice, self._clock.now_s())
            self._samples.append(measured)
            self._newest[notice.path] = measured
        else:
            self._queue.put(notice)

    def tell(self, event: LifeEvent) -> None:
        """Take an event that the driver's own side has seen."""
        self._queue.put(Notice(event, event.path, event.incarnation))

    def drain(self) -> None:
        """Ask for the whole pipeline to go down. Safe inside a signal handler."""
        self._queue.put(DrainRequested())

    def lose(self, text: str) -> None:
        """Say that the backend is gone as a whole. From any thread."""
        self._queue.put(Lost(text))

    def knock(self, word: Knock = Knock.LOOK) -> None:
        """Wake the driver. Safe inside a signal handler and from any thread."""
        self._queue.put(word)

    def wait(self, timeout_s: float) -> None:
        """Return when there is news, or after that time."""
        if not self._first:
            try:
                self._first.append(self._queue.get(timeout=max(0.0, timeout_s)))
            except Empty:
                return

    def take(self, most: int) -> list[News]:
        """Return up to that many pieces of news, oldest first, without waiting."""
        news, self._first = self._first, []
        try:
            while len(news) < most:
                news.append(self._queue.get_nowait())
        except Empty:
            pass
        return news

    def is_empty(self) -> bool:
        """Tell whether there is no news at this moment."""
        return not self._first and self._queue.empty()

    def newest_sample(self, path: Path, incarnation: int) -> Sample | None:
        """Return the newest measurement of that life, None if there is none yet."""
        measured = self._newest.get(path)
        return measured if measured is not None and measured.incarnation == incarnation else None

    def take_samples(self) -> list[Sample]:
        """Return all measurements that have arrived."""
        return [self._samples.popleft() for _ in range(len(self._samples))]
