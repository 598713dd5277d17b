"""What quotas are called: the words of the pipeline file, used wherever people read."""

from __future__ import annotations

from collections.abc import Iterator

from supervisor.core.spec import Quota

_FIELDS = {
    "memory": "memory_bytes",
    "cpu": "cpu_cores",
    "processes": "processes",
    "open_files": "open_files",
    "disk": "disk_bytes",
    "time": "time_s",
    "gpus": "gpus",
    "log": "log_bytes",
}
_WORDS = {field: name for name, field in _FIELDS.items()}


def word(quota: str) -> str:
    """Return the word for a quota given as such or as a field of `Quota`.

    >>> word("memory_bytes"), word("memory")
    ('memory', 'memory')
    """
    return _WORDS.get(quota, quota)


def declared(quota: Quota) -> Iterator[str]:
    """Yield the words of the declared quotas.

    >>> list(declared(Quota(memory_bytes=1, time_s=2.0)))
    ['memory', 'time']
    """
    return (name for name, field in _FIELDS.items() if getattr(quota, field) is not None)
