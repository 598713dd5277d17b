"""The one thread of a cell: waits on descriptors and alarms, and lets the current life react.

Everything that happens to a life happens in this thread, one thing at a time, so `life.py` needs no
locks; other threads hand their words over with `post`. It blocks while nothing happens: an idle
cell costs a few wake-ups per minute. It lives as long as the cell, because bodies die with the
thread that started them. Read next: `life.py`.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

Call = Callable[[], None]


class Alarms:
    """Named points in time, each with what to do then."""

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, Call]] = {}

    def set(self, name: str, after_s: float, call: Call) -> None:
        """Call once after that many seconds; replaces an alarm of the same name."""
        self._due[name] = (time.monotonic() + after_s, call)

    def bring_forward(self, name: str, after_s: float) -> None:
        """Let an alarm that is set ring no later than after that many seconds."""
        if name in self._due:
            at_s, call = self._due[name]
            self._due[name] = (min(at_s, time.monotonic() + after_s), call)

    def clear(self, name: str | None = None) -> None:
        """Forget one alarm, or all."""
        if name is None:
            self._due.clear()
        else:
            self._due.pop(name, None)

    def wait_ms(self) -> float | None:
        """Return milliseconds until the next alarm; None without any."""
        if not self._due:
            return None
        return max(0.0, min(at_s for at_s, _ in self._due.values()) - time.monotonic()) * 1000

    def ring(self) -> None:
        """Do what is due."""
        now_s = time.monotonic()
        for name in [name for name, (at_s, _) in self._due.items() if at_s <= now_s]:
            due = self._due.pop(name, None)  # an earlier one may have cleared it
            if due is not None:
                due[1]()


class Keeper:
    """A thread around `poll`.

    Descriptors are served in the order in which they were added: what a body said before it
    died is heard before its death.

    Args:
        name: of the thread.
        on_crash: told of an exception that nobody expected. The thread then ends, and the bodies
            it started end with it: what nobody watches must not run.
    """

    def __init__(self, name: str, on_crash: Callable[[BaseException], None]) -> None:
        self._on_crash = on_crash
        self.alarms = Alarms()
        self._poll = select.poll()
        self._handlers: dict[int, Call] = {}
        self._posted: deque[Call] = deque()
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poll.register(self._wake_fd, select.POLLIN)
        self._over = False
        self._closing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._guard, name=f"psup-cell {name}", daemon=True)
        self._thread.start()

    def post(self, call: Call) -> None:
        """Have something done in the keeper's thread, soon; from any thread.

        Nothing is done any more once the keeper is closed: there is nothing left to do it to.
        """
        with self._closing:  # the descriptor's number may soon be another's
            if not self._closed:
                self._posted.append(call)
                os.eventfd_write(self._wake_fd, 1)

    @property
    def works(self) -> bool:
        """Whether what is posted will be done."""
        return self._thread.is_alive()

    def add(self, fd: int, call: Call) -> None:
        """Call whenever the descriptor is readable or at its end; keeper's thread only."""
        self._handlers[fd] = call
        self._poll.register(fd, select.POLLIN)

    def drop(self, fd: int) -> None:
        """Wait for that descriptor no more; harmless if it was not waited for."""
        if self._handlers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def close(self) -> None:
        """End the thread, after everything posted before was done; again changes nothing."""
        self.post(self._finish)
        self._thread.join()
        with self._closing:
            if not self._closed:
                self._closed = True
                os.close(self._wake_fd)

    def _finish(self) -> None:
        self._over = True

    def _guard(self) -> None:
        try:
            self._run()
        except BaseException as error:
            self._on_crash(error)
            raise

    def _run(self) -> None:
        while not self._over:
            ready = {fd for fd, _ in self._poll.poll(self.alarms.wait_ms())}
            for fd in [fd for fd in self._handlers if fd in ready]:
                if fd in self._handlers:  # an earlier one may have dropped it
                    self._handlers[fd]()
            self.alarms.ring()
            if self._wake_fd in ready:
                os.eventfd_read(self._wake_fd)
            while self._posted:
                self._posted.popleft()()
