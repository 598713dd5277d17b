"""What a life uses at this moment, read from its control group on this machine.

The last measurement in the store may be seconds old; the kernel's own number costs one read. File
cache that the kernel would drop first is left out, as the daemon's measurements leave it out.
Never fails: where the group cannot be seen (another machine, no control groups), it says None.
"""

from __future__ import annotations

_MOUNT = "/sys/fs/cgroup"
_VERSIONS = (
    ("/memory", "memory.usage_in_bytes", "total_inactive_file"),
    ("", "memory.current", "inactive_file"),
)
"""Below the mount: where version 1 and 2 keep a group's memory, its use, and its idle cache."""


def memory_now(group: str | None) -> int | None:
    """Return the bytes in use by a group.

    Args:
        group: absolute path of its memory folder, or its name below the mount.
    """
    if not group:
        return None
    for hierarchy, use, cache in _VERSIONS:
        folder = group if group.startswith("/") else f"{_MOUNT}{hierarchy}/{group}"
        used = _read(f"{folder}/{use}")
        if used:
            return max(0, int(used) - _field(_read(f"{folder}/memory.stat"), cache))
    return None


def _read(file: str) -> str:
    try:
        with open(file) as opened:  # noqa: PTH123 - twenty of these are in every screen
            return opened.read()
    except OSError:
        return ""


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        word, _, number = line.partition(" ")
        if word == name:
            return int(number)
    return 0
