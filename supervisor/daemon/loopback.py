"""Chooses port numbers for `ports: {http: auto}`: free now, and the same over all restarts.

Candidates are spread by a hash of who asks, below the range from which the kernel hands out numbers
by itself, so that neither a second pipeline nor an outgoing connection is likely to take one
between two lives. Read next: `service.py` (who remembers them).
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from supervisor.core.spec import Path, SegmentSpec
from supervisor.errors import SupervisorError

FIRST_PORT = 20_000
PORTS = 12_000
"""20,000 to 31,999; Linux hands out 32,768 and above."""


def port_names(segments: Mapping[Path, SegmentSpec]) -> Iterator[tuple[str, int]]:
    """Yield every declared port as "path below the pipeline/name", and its number (0: choose)."""
    for path, segment in segments.items():
        below = path.partition("/")[2]
        for name, port in segment.body.ports.items():
            yield f"{below}/{name}", port


def is_free(port: int) -> bool:
    """Tell whether a body could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def choose(asker: str, taken: frozenset[int], free: Callable[[int], bool] = is_free) -> int:
    """Return a port for that asker: the same one every time, unless it is not free.

    >>> choose("digits/serve/http", frozenset(), free=lambda port: True)
    30690
    """
    digest = hashlib.blake2b(asker.encode(), digest_size=8).digest()
    start = int.from_bytes(digest, "big") % PORTS
    for step in range(PORTS):
        port = FIRST_PORT + (start + step) % PORTS
        if port not in taken and free(port):
            return port
    last = FIRST_PORT + PORTS - 1
    raise SupervisorError(
        f"no free loopback port between {FIRST_PORT} and {last} for {asker}",
        hint="name a port number in the pipeline file",
    )


def with_numbers(
    segments: Mapping[Path, SegmentSpec], ports: Mapping[str, int]
) -> dict[Path, SegmentSpec]:
    """Return the segments with every port resolved."""
    resolved = {}
    for path, segment in segments.items():
        below = path.partition("/")[2]
        numbers = {
            name: ports.get(f"{below}/{name}", port) for name, port in segment.body.ports.items()
        }
        resolved[path] = replace(segment, body=replace(segment.body, ports=numbers))
    return resolved
