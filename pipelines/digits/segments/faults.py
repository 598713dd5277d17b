"""How `train` misbehaves when it is asked to, so that containment can be watched.

`leak` grows memory, `spin` burns processors, `crash` raises. All are off unless a parameter says
otherwise (`psup launch ... --set train.leak=4GiB`), and none knows anything about supervision:
this is what a bug in somebody's training script looks like.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from supervisor.body import Context
from supervisor.config.units import parse_size

LEAK_STEP_BYTES = 32 * 1024**2
LEAK_PAUSE_S = 0.05


class InjectedCrash(Exception):
    """`crash` was asked for."""


class Faults:
    """The misbehaviour that the parameters ask for; a context manager that ends what it started.

    Args:
        params: `leak` (size such as `4GiB`), `spin` (number of busy processes), `crash` (text of
            the exception); `0B`, `0` and the empty text mean none.
    """

    def __init__(self, params: Mapping[str, Any]) -> None:
        self.leak_bytes = parse_size(params.get("leak", "0B"))
        self.spinners = int(params.get("spin", 0))
        self.crash = str(params.get("crash", ""))
        self._held: list[bytearray] = []
        self._busy: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._busy:
            process.kill()
        for process in self._busy:
            process.wait()

    def strike(self, ctx: Context) -> None:
        """Misbehave now.

        Raises:
            InjectedCrash: `crash` has a text.
        """
        self._spin(ctx)
        self._leak(ctx)
        if self.crash:
            raise InjectedCrash(self.crash)

    def _spin(self, ctx: Context) -> None:
        for _ in range(self.spinners):
            self._busy.append(
                subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
            )
        if self.spinners:
            ctx.status(f"spinning in {self.spinners} processes")
            ctx.logger.warning("spinning in %d processes", self.spinners)

    def _leak(self, ctx: Context) -> None:
        """Hold memory in steps. `bytearray` writes its zeros, so every page counts at once."""
        held = 0
        if self.leak_bytes:
            ctx.logger.warning("leaking up to %d MiB", self.leak_bytes // 1024**2)
        while held < self.leak_bytes and not ctx.stopping.is_set():
            block = bytearray(min(LEAK_STEP_BYTES, self.leak_bytes - held))
            self._held.append(block)
            held += len(block)
            ctx.status(f"leaked {held // 1024**2} of {self.leak_bytes // 1024**2} MiB")
            ctx.stopping.wait(LEAK_PAUSE_S)
