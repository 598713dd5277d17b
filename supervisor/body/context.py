"""`Context`: all that a segment's code is told about itself, and all that it can say.

This is the user's interface. Every attribute has its twin in the environment (`PSUP_*`), so that a
`command:` body in any language has the same. Nothing here blocks, and nothing here fails because
nobody listens: the same callable runs under a plain debugger.
Read next: `notify.py` (how words travel), `__main__.py` (who calls the user's code).
"""

from __future__ import annotations

import os
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from supervisor.body.notify import Notifier

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping
    from pathlib import Path

SHORTEST_PROGRESS_PERIOD_S = 0.1


class Context:
    """What a `run:` callable is called with.

    >>> ctx = Context({"PSUP_PATH": "digits/train", "PSUP_INCARNATION": "4", "PSUP_ATTEMPT": "2"})
    >>> ctx.path, ctx.incarnation, ctx.attempt, ctx.stopping.is_set()
    ('digits/train', 4, 2, False)

    Attributes:
        path: where the segment stands: `pipeline/supervisor/segment`.
        incarnation: which life this is, counted from 1 for ever.
        attempt: 1 for a first try, one more for every restart in a row.
        last_exit: how the life before ended (`oom`, `error(ValueError: ...)`), "" for the first.
        stopping: set when the segment is asked to stop. Look at it in long loops, or wait on it
            instead of sleeping; after the grace period the process is killed. A task that
            returns once this is set counts as `stopped`, not as `completed`, because nobody can
            tell whether it returned early.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(os.environ if environment is None else environment)
        self._notifier = Notifier(self._environment.get("NOTIFY_SOCKET", ""))
        self._progress_sent_s = float("-inf")
        self.path: str = self._environment.get("PSUP_PATH", "")
        self.incarnation: int = int(self._environment.get("PSUP_INCARNATION", "1"))
        self.attempt: int = int(self._environment.get("PSUP_ATTEMPT", "1"))
        self.last_exit: str = self._environment.get("PSUP_LAST_EXIT", "")
        self.stopping = threading.Event()

    @cached_property
    def params(self) -> Mapping[str, Any]:
        """Return the `params:` of the pipeline file."""
        import json

        loaded: dict[str, Any] = json.loads(self._environment.get("PSUP_PARAMS", "{}"))
        return loaded

    @cached_property
    def scratch(self) -> Path:
        """Return a folder of this life only; what is in it counts against the `disk` quota."""
        return self._folder("PSUP_SCRATCH")

    @cached_property
    def checkpoint(self) -> Path:
        """Return this segment's folder that outlives restarts; it counts against `disk` too."""
        return self._folder("PSUP_CHECKPOINT")

    @cached_property
    def data(self) -> Path:
        """Return the folder that all segments of the pipeline share."""
        return self._folder("PSUP_PIPELINE_DIR")

    def port(self, name: str = "http") -> int:
        """Return the number of one of this segment's own ports; it is the same over restarts.

        Raises:
            KeyError: the segment declares no port of that name.
        """
        return self._port(_variable("PSUP_PORT", name), f"this segment has no port {name!r}")

    def port_of(self, segment: str, name: str = "http") -> int:
        """Return the number of a port of another segment of the pipeline.

        Raises:
            KeyError: no segment of that name declares a port of that name.
        """
        absent = f"segment {segment!r} has no port {name!r}"
        return self._port(_variable("PSUP_PORT", segment, name), absent)

    def progress(self, done: float, total: float | None = None) -> None:
        """Say how far the work is, in any unit; cheap enough for every turn of a loop."""
        now_s = time.monotonic()
        finished = total is not None and done >= total
        if finished or now_s - self._progress_sent_s >= SHORTEST_PROGRESS_PERIOD_S:
            self._progress_sent_s = now_s
            of = "" if total is None else f"{total:g}"
            self._notifier.send(X_PSUP_PROGRESS=f"{done:g}/{of}")

    def heartbeat(self) -> None:
        """Say that the work goes on; feeds the watchdog of `alive: notify`."""
        self._notifier.send(must_arrive=True, WATCHDOG="1")

    def status(self, text: str) -> None:
        """Say in one line what is being done; shown by `psup show`."""
        self._notifier.send(STATUS=text)

    def ready(self) -> None:
        """Say that the service answers; needed only with `ready: notify`."""
        self._notifier.send(must_arrive=True, READY="1")

    @cached_property
    def logger(self) -> logging.Logger:
        """Return a logger that writes lines with time and level to this life's log."""
        import logging

        logger = logging.getLogger(self.path.replace("/", ".") or "psup")
        if not logging.getLogger().handlers:
            layout = "%(asctime)s %(levelname)-7s %(message)s"
            logging.basicConfig(level=logging.INFO, format=layout)
        return logger

    def ray(self) -> Any:
        """Connect this process to the pipeline's Ray and return the `ray` module."""
        import ray

        if not ray.is_initialized():
            address = self._environment.get("PSUP_RAY_ADDRESS", "auto")
            ray.init(address=address, log_to_driver=False)
        return ray

    def _folder(self, variable: str) -> Path:
        from pathlib import Path

        folder = Path(self._environment.get(variable) or ".")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _port(self, variable: str, absent: str) -> int:
        if variable not in self._environment:
            raise KeyError(absent)
        return int(self._environment[variable])


def _variable(*parts: str) -> str:
    return "_".join(parts).upper().replace("-", "_")
