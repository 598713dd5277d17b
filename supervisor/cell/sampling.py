"""What is measured while a body lives, how often, and which quota it is over.

Where the kernel holds the quotas, a look every few seconds is enough for people to read. Where it
does not, the looking is the enforcement, and is many times quicker; what is told stays the same.
Read next: `life.py`, which acts on a breach.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from supervisor.cell.hearing import Said
from supervisor.core.spec import Quota
from supervisor.runtime.ports import Enclosure, Usage

REPORT_S = 5.0
FIRST_S = 0.5
WORDS_S = 1.0
ENFORCING_S = 0.05
SAMPLED_BY_ENCLOSURE = ("memory", "processes")


class Sampling:
    """The measurements of one life.

    Args:
        quota: declared bounds.
        enclosure: tells which of them must be watched, and what counts as a breach.
    """

    def __init__(self, quota: Quota, enclosure: Enclosure) -> None:
        self.quota = quota
        self._enclosure = enclosure
        held = enclosure.enforcement
        enforcing = any(held.get(name) == "sampled" for name in SAMPLED_BY_ENCLOSURE)
        self.period_s = ENFORCING_S if enforcing else REPORT_S
        self.first_s = ENFORCING_S if enforcing else FIRST_S
        self.after_words_s = WORDS_S
        self._usage = Usage()
        self._cpu_at: tuple[float, float] | None = None
        self._cpu_cores: float | None = None
        self._peak_bytes = 0
        self._disk_bytes: int | None = None
        self._status: str | None = None
        self._progress: tuple[float, float | None] | None = None
        self._words = False
        self._next_report_s = time.monotonic() + FIRST_S

    def look(self, usage: Usage) -> str | None:
        """Take a measurement; return the name of the quota it is over, or None."""
        self._usage = usage
        self._peak_bytes = max(self._peak_bytes, usage.memory_bytes or 0)
        return self._enclosure.breach(usage)

    def take(self, said: Said) -> None:
        """Take what the body said about itself."""
        self._status = said.status if said.status is not None else self._status
        self._progress = said.progress or self._progress
        self._next_report_s = min(self._next_report_s, time.monotonic() + WORDS_S)

    def disk_breached(self, used_bytes: int) -> bool:
        """Take a measurement of the disk; return whether it is over the quota."""
        self._disk_bytes = used_bytes
        return self.quota.disk_bytes is not None and used_bytes > self.quota.disk_bytes

    @property
    def report_is_due(self) -> bool:
        """Whether people should hear of the newest measurement."""
        return time.monotonic() >= self._next_report_s - 0.01

    def report(self) -> dict[str, Any]:
        """Return the newest measurement as evidence."""
        self._next_report_s = time.monotonic() + REPORT_S
        self._measure_cpu()
        return {
            "memory_bytes": self._usage.memory_bytes,
            "peak_memory_bytes": self._usage.peak_memory_bytes or self._peak_bytes,
            "cpu_cores": self._cpu_cores,
            "processes": self._usage.processes,
            "open_files": self._usage.open_files,
            "disk_bytes": self._disk_bytes,
            "status": self._status,
            "progress": self._progress,
        }

    def peak_memory_bytes(self, usage: Usage) -> int | None:
        """Return the highest memory use known, from counters where there are any.

        `ru_maxrss` is of no use: it begins with the size of the process that forked.
        """
        return usage.peak_memory_bytes or self._peak_bytes or None

    def _measure_cpu(self) -> None:
        """Return cores in use since the report before."""
        now_s, cpu_s = time.monotonic(), self._usage.cpu_s
        if cpu_s is None:
            return
        if self._cpu_at is not None:
            then_s, then_cpu_s = self._cpu_at
            if now_s > then_s:
                self._cpu_cores = max(0.0, round((cpu_s - then_cpu_s) / (now_s - then_s), 3))
        self._cpu_at = (now_s, cpu_s)


def limits(quota: Quota) -> dict[str, Any]:
    """Return the declared bounds only, as evidence."""
    return {name: value for name, value in asdict(quota).items() if value is not None}
