"""Speak systemd's notify protocol to the cell: small datagrams of `KEY=value` lines.

Decides nothing and never raises because nobody listens: a body started by hand, outside any cell,
must work the same. Read next: `context.py`, which gives users words for these messages.
"""

from __future__ import annotations

import os
import socket

LONGEST_VALUE_CHARS = 100_000  # a datagram holds about twice as many bytes


class Notifier:
    """The body's end of the notify socket.

    Args:
        address: `NOTIFY_SOCKET`; a leading `@` means Linux's abstract namespace; empty for nobody.
    """

    def __init__(self, address: str | None = None) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None

    def send(self, *, must_arrive: bool = False, **fields: str) -> bool:
        """Send one message of `KEY=value` lines.

        Args:
            must_arrive: wait when the cell is behind, instead of dropping the message.
            fields: a value's line breaks become spaces; of one too long for a datagram the end
                is left out.

        Returns:
            False when there was nobody to hear it.
        """
        if not self._address:
            return False
        lines = (f"{key}={_one_line(value)}" for key, value in fields.items())
        flags = 0 if must_arrive else socket.MSG_DONTWAIT
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.sendto("\n".join(lines).encode(), flags, self._address)
        except OSError:  # the cell is gone or full; the body's own work goes on
            return False
        return True


def _one_line(value: str) -> str:
    return value.replace("\n", " ")[:LONGEST_VALUE_CHARS]
