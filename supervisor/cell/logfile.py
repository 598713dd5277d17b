"""The output of one life: a plain file that the body writes itself, kept below a size.

The body holds the file open for appending, so that its output outlives the cell, and no pipe can
break. Rotation therefore copies the newest part aside and truncates in place; what is written
between the two is lost, which is the price of never standing between a body and its output.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

DEFAULT_LIMIT_BYTES = 10 * 1024**2
TAIL_BYTES = 16 * 1024
LONGEST_LINE_CHARS = 2000


class LogFile:
    """One life's log.

    Args:
        path: the file; older output stands beside it in `<path>.1`.
        limit_bytes: how much is kept of both together, > 0.
    """

    def __init__(self, path: str, limit_bytes: int | None) -> None:
        self.path = Path(path)
        self._share_bytes = max(1, (limit_bytes or DEFAULT_LIMIT_BYTES) // 2)
        self._seen = (0.0, 0)

    def open_for_append(self) -> int:
        """Make the file and its folder, and return a descriptor for the body."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def rotate_if_full(self, now_s: float) -> float:
        """Cut the file when it is over its share.

        Returns:
            Seconds until it will be full, if it goes on growing as it did since the last call.
        """
        try:
            size_bytes = self.path.stat().st_size
        except FileNotFoundError:  # a person removed it; the body writes to it all the same
            return math.inf
        then_s, then_bytes = self._seen
        bytes_per_s = max(0, size_bytes - then_bytes) / max(now_s - then_s, 1e-6)
        if size_bytes > self._share_bytes:
            self._rotate(size_bytes)
            size_bytes = 0
        self._seen = (now_s, size_bytes)
        return (self._share_bytes - size_bytes) / bytes_per_s if bytes_per_s else math.inf

    def last_lines(self, count: int = 20) -> list[str]:
        """Return the newest lines, whatever bytes they hold."""
        parts = [_tail(self.path, TAIL_BYTES)]
        if len(parts[0]) < TAIL_BYTES:
            parts.insert(0, _tail(self._older, TAIL_BYTES - len(parts[0])))
        lines = b"".join(parts).decode("utf-8", errors="replace").splitlines()
        return [line[:LONGEST_LINE_CHARS] for line in lines[-count:]]

    @property
    def _older(self) -> Path:
        return self.path.with_name(self.path.name + ".1")

    def _rotate(self, size_bytes: int) -> None:
        with self.path.open("r+b", buffering=0) as source, self._older.open("wb") as older:
            offset = max(0, size_bytes - self._share_bytes)
            end = size_bytes
            while offset < end:
                offset += os.sendfile(older.fileno(), source.fileno(), offset, end - offset)
                end = min(os.fstat(source.fileno()).st_size, size_bytes + self._share_bytes)
            source.truncate(0)


def _tail(path: Path, count_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - count_bytes))
            return file.read(count_bytes)
    except FileNotFoundError:
        return b""
