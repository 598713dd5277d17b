"""Reads the log files of lives: their last lines, and what is added while somebody looks.

A body writes its log itself; the cell keeps it below a size by copying the newest part to
`<file>.1` and truncating in place. So a file may shrink while it is read, and the lines before its
first one stand in the older file. Read next: `logs.py`, `cell/logfile.py` (who rotates).
"""

from __future__ import annotations

import os
from pathlib import Path

_BLOCK_BYTES = 64 * 1024


def last_lines(file: Path, most: int | None, *, until: int | None = None) -> list[str]:
    """Return the newest lines of a log; [] when it was never written or is gone.

    Args:
        file: the log of one life.
        most: how many at most; None for all that is kept.
        until: look only at so many bytes of the file.
    """
    found = _tail(file, most, until)
    if most is None or len(found) < most:
        rest = None if most is None else most - len(found)
        found = _tail(file.with_name(f"{file.name}.1"), rest, None) + found
    return found


def complete_bytes(file: Path) -> int:
    """Return where the last complete line of a log ends."""
    try:
        with file.open("rb") as opened:
            at = opened.seek(0, os.SEEK_END)
            while at:
                start = max(0, at - _BLOCK_BYTES)
                opened.seek(start)
                end = opened.read(at - start).rfind(b"\n")
                if end >= 0:
                    return start + end + 1
                at = start
    except FileNotFoundError:
        return 0
    return 0


def _tail(file: Path, most: int | None, until: int | None) -> list[str]:
    """Read backwards in blocks until there are enough line ends."""
    blocks: list[bytes] = []
    ends = 0
    try:
        with file.open("rb") as opened:
            at = opened.seek(0, os.SEEK_END) if until is None else until
            while at and (most is None or ends <= most):
                start = max(0, at - _BLOCK_BYTES)
                opened.seek(start)
                blocks.append(opened.read(at - start))
                ends += blocks[-1].count(b"\n")
                at = start
    except FileNotFoundError:
        return []
    lines = b"".join(reversed(blocks)).decode("utf-8", errors="replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    return lines if most is None else lines[max(0, len(lines) - most) :]


class Tail:
    """The end of one log file that grows.

    Args:
        file: the log of one life; it need not exist yet.
        at: how many of its bytes are known already.
    """

    def __init__(self, file: Path, *, at: int = 0) -> None:
        self.file = file
        self._at = at
        self._rest = b""

    def new_lines(self, *, ended: bool = False) -> list[str]:
        """Return the lines that were completed since the last look.

        Args:
            ended: nothing will be added any more, so what is left is a line as well.
        """
        chunk = self._read()
        parts = (self._rest + chunk).split(b"\n")
        self._rest = b"" if ended else parts[-1]
        if not ended or parts[-1] == b"":
            parts.pop()
        return [part.decode("utf-8", errors="replace") for part in parts]

    def _read(self) -> bytes:
        size_bytes = _size(self.file)
        if size_bytes < self._at:  # it was truncated: all that it holds is new
            self._at = 0
        if size_bytes == self._at:
            return b""
        try:
            with self.file.open("rb") as opened:
                opened.seek(self._at)
                chunk = opened.read()
        except FileNotFoundError:
            return b""
        self._at += len(chunk)
        return chunk


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
