"""The pipe from a daemon to whoever launches it: "look at the store", "I do this now", "I refuse".

The daemon must never wait for a launcher that has stopped reading, nor die because it is gone: what
does not fit is dropped, and when nobody reads any more the pipe is closed for good. The facts are
in the store; a line here only says when to look. Read next: `cli/following.py` (the reader).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from supervisor.errors import SupervisorError

_LONGEST_TEXT = 2000
"""A line must be shorter than PIPE_BUF (4096 bytes): then it is written whole or not at all."""


class Progress:
    """The writing end.

    Args:
        descriptor: of the pipe; None talks to nobody.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # a launcher reads until the last writer is gone
            os.set_blocking(descriptor, False)

    def saved(self) -> None:
        """There is something new in the store."""
        self._write(b"\n")

    def doing(self, text: str) -> None:
        """Say what takes time now."""
        self._tell({"doing": text})

    def refused(self, error: SupervisorError) -> None:
        """Say why there will be no daemon."""
        message = error.message[:_LONGEST_TEXT]
        self._tell({"refused": message, "hint": error.hint, "exit_code": error.exit_code})

    def _tell(self, facts: Mapping[str, Any]) -> None:
        self._write(json.dumps(facts).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, line)
        except BlockingIOError:
            return
        except BrokenPipeError:
            os.close(self._descriptor)
            self._descriptor = None
