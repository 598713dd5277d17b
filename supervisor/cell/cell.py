"""`Cell`: what callers see of a cell. Thread-safe; every method but `watch` and `close` is quick.

Guards the two promises that callers rely on: an order for a life that already began changes
nothing, and there is never a second living incarnation. Everything else happens in the keeper's
thread. Read next: `life.py`.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from pathlib import Path as FilePath
from typing import Any

from supervisor.cell.keeper import Keeper
from supervisor.cell.life import Life
from supervisor.cell.order import order_from_json
from supervisor.cell.outbox import Outbox
from supervisor.core.codec import decode_spec
from supervisor.core.spec import Path, SegmentSpec
from supervisor.errors import Refused
from supervisor.runtime.ports import Json, Limiter


class Cell:
    """Runs the lives of one segment, one after the other.

    Args:
        path: the segment's.
        limiter: holds the quotas on this node.
        run_folder: short path of a folder for notify sockets, made 0700 if absent; by default
            one per user under the system's temporary folder.
        node: this node's name, for `Started`; the host's name if empty.
        scope: keeps apart what different homes of the same user run under the same name.
    """

    def __init__(
        self,
        path: Path,
        *,
        limiter: Limiter,
        run_folder: str | None = None,
        node: str = "",
        scope: str = "",
    ) -> None:
        self.path = path
        self._limiter = limiter
        self._run_folder = FilePath(run_folder) if run_folder else _default_run_folder()
        self._node = node or socket.gethostname()
        self._scope = scope
        self._outbox = Outbox()
        self._keeper = Keeper(path, self._outbox.break_off)
        self._lock = threading.Lock()
        self._newest = 0
        self._life: Life | None = None

    def start(self, order: Json) -> None:
        """Begin a life; `Started`, then `Ready`, follow as notices, or `Exited`.

        Args:
            order: a StartOrder, as `order_to_json` writes it.

        Raises:
            Refused: another incarnation lives, this one is older than one seen before, or the
                cell is closed.
        """
        start = order_from_json(order)
        with self._lock:
            if not self._keeper.works:
                raise Refused(f"the cell of {self.path} is closed")
            if start.incarnation == self._newest:
                return
            if start.incarnation < self._newest:
                raise Refused(f"{self.path}#{start.incarnation} is older than #{self._newest}")
            if self._life is not None and not self._life.over:
                raise Refused(f"{self.path}#{self._newest} still lives")
            self._newest = start.incarnation
            life = Life(
                start,
                limiter=self._limiter,
                run_folder=self._run_folder,
                keeper=self._keeper,
                outbox=self._outbox,
                node=self._node,
                scope=self._scope,
            )
            self._life = life
        self._keeper.post(life.begin)

    def adjust(self, incarnation: int, spec: Json) -> None:
        """Hold a living body to the quotas and the health checks of another spec.

        Args:
            incarnation: which life; another one is left as it is.
            spec: the segment, as `encode_spec` writes it; values of the environment are not used.
        """
        life = self._living(incarnation)
        wanted = decode_spec(spec)
        assert isinstance(wanted, SegmentSpec), "only segments have cells"
        if life is not None:
            self._keeper.post(lambda: life.adjust(wanted))

    def stop(self, incarnation: int, signal: str = "SIGTERM") -> None:
        """Send the main process a signal that asks it to go; no kill follows from here."""
        life = self._living(incarnation)
        if life is not None:
            self._keeper.post(lambda: life.stop(signal))

    def kill(self, incarnation: int) -> None:
        """End every process of that life."""
        life = self._living(incarnation)
        if life is not None:
            self._keeper.post(life.kill)

    def watch(self, after: int = 0) -> list[dict[str, Any]]:
        """Wait for notices numbered above `after` and return them, oldest first.

        Each is `{"n", "event", "incarnation", "evidence"}`; `event` is None for a measurement.
        Returns empty when the cell closes or a newer watcher comes.
        """
        return self._outbox.watch(after)

    def saved(self, n: int) -> None:
        """Say that all notices up to `n` are in the store; forget the lives that ended by then."""
        self._outbox.saved(n)

    def describe(self) -> dict[str, Any]:
        """Return the newest life (incarnation 0: none yet), and the number of the last notice."""
        with self._lock:
            life = self._life
            return {
                "incarnation": self._newest,
                "pid": None if life is None else life.pid,
                "alive": life is not None and not life.over,
                "last": self._outbox.last,
                "cell_pid": os.getpid(),
                "mode": self._limiter.mode,
            }

    def close(self) -> None:
        """Kill the body, remove what was made for it, send watchers home; again does nothing."""
        with self._lock:
            life = self._life
        if life is not None and self._keeper.works:
            self._keeper.post(life.kill)
            life.wait_until_over()
        self._keeper.close()
        self._outbox.close()

    def _living(self, incarnation: int) -> Life | None:
        with self._lock:
            if self._life is None or incarnation != self._newest or self._life.over:
                return None
            return self._life


def _default_run_folder() -> FilePath:
    return FilePath(tempfile.gettempdir()) / f"psup-{os.getuid()}"
