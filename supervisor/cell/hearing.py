"""The cell's end of the notify socket: what the body of one life says.

One socket per life, in a folder that only this user may enter, so that no old body and nobody else
can speak for a new one. Understands; decides nothing. Read next: `life.py`.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST_MESSAGE_BYTES = 256 * 1024
LONGEST_STATUS_CHARS = 200


@dataclass(slots=True)
class Said:
    """What one batch of messages amounts to; None and False where nothing was said."""

    running: bool = False
    ready: bool = False
    heartbeat: bool = False
    status: str | None = None
    progress: tuple[float, float | None] | None = None
    error: dict[str, Any] | None = None


class NotifySocket:
    """Receives the notify protocol's datagrams.

    Args:
        folder: made with mode 0700 if it does not exist; its path must be short (socket
            addresses end at 107 bytes).
        name: unique in that folder.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.bind(str(self.path))
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._socket.fileno()

    def receive(self) -> Said:
        """Return everything that has been said since the last call."""
        said = Said()
        while True:
            try:
                message = self._socket.recv(LONGEST_MESSAGE_BYTES)
            except BlockingIOError:
                return said
            for line in message.decode("utf-8", errors="replace").splitlines():
                _understand(line, said)

    def close(self) -> None:
        """Stop listening and remove the socket's file."""
        self._socket.close()
        os.unlink(self.path)  # noqa: PTH108  pathlib would say the same


def _understand(line: str, said: Said) -> None:
    """Add one `KEY=value` line."""
    key, _, value = line.partition("=")
    match key:
        case "READY":
            said.ready = value == "1"
        case "X_PSUP_RUNNING":
            said.running = True
        case "WATCHDOG":
            said.heartbeat = value == "1"
        case "STATUS":
            said.status = value[:LONGEST_STATUS_CHARS]
        case "X_PSUP_PROGRESS":
            said.progress = _progress(value) or said.progress
        case "X_PSUP_ERROR":
            said.error = _error(value)
        case _:
            """The protocol has more words; they do not concern us."""


def _progress(value: str) -> tuple[float, float | None] | None:
    done, _, total = value.partition("/")
    try:
        return float(done), float(total) if total else None
    except ValueError:  # written by a body, not by us: a wrong number is no number
        return None


def _error(value: str) -> dict[str, Any]:
    """Return type, message and traceback, also from a body that speaks its own dialect."""
    try:
        told = json.loads(value)
    except json.JSONDecodeError:
        told = None
    if not isinstance(told, dict):
        told = {"message": value}
    names = {"type": "Error", "message": "", "traceback": ""}
    return {name: str(told.get(name, default)) for name, default in names.items()}
