"""How much room a life's folders take, measured in a thread of its own.

Walking a large folder may take seconds; nobody who must react at once may wait for it. The walk
takes at most a small share of a core, however large the folder.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

PERIOD_S = 1.0
REST_FACTOR = 20.0


class DiskWatch:
    """Measures some folders again and again, and reports each result.

    Args:
        folders: measured together; one that does not exist counts nothing.
        report: called with the number of bytes, from the watching thread.
    """

    def __init__(self, folders: tuple[str, ...], report: Callable[[int], None]) -> None:
        self._folders = folders
        self._report = report
        self._over = threading.Event()

    def start(self) -> None:
        """Begin to measure."""
        threading.Thread(target=self._run, name="psup-disk", daemon=True).start()

    def stop(self) -> None:
        """Measure no more."""
        self._over.set()

    def _run(self) -> None:
        rest_s = 0.0
        while not self._over.wait(rest_s):
            began_s = time.monotonic()
            self._report(sum(size_bytes(folder) for folder in self._folders))
            rest_s = max(PERIOD_S, REST_FACTOR * (time.monotonic() - began_s))


def size_bytes(folder: str) -> int:
    """Return the disk blocks that a folder holds, in bytes; links are not followed."""
    total = 0
    pending = [folder]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:  # the body removes files while we look; they count nothing
            continue
    return total
