"""The doorbell: a datagram socket that tells a daemon to look at its requests now.

A ring carries nothing and promises nothing: the request is a row in the store, and a lost ring
only costs the second until the daemon looks anyway. Only the user's own processes can ring: the
socket is 0600 in a folder that is 0700. The standard library only, because `psup stop` rings too.
"""

from __future__ import annotations

import hashlib
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from supervisor.runtime.private_files import private_folder

_LONGEST_ADDRESS_BYTES = 100
_LONGEST_KEY_BYTES = 64
_HAND_OVER_S = 5.0
_log = logging.getLogger(__name__)


def address(home: Path, pipeline: str) -> Path:
    """Return where the daemon of that pipeline listens.

    Socket addresses are limited to 107 bytes; a home that is too deep gets a short folder in /tmp.

    >>> address(Path("/home/ann/.psup"), "digits").as_posix()
    '/home/ann/.psup/run/digits.sock'
    """
    plain = home / "run" / f"{pipeline}.sock"
    if len(os.fsencode(plain)) <= _LONGEST_ADDRESS_BYTES:
        return plain
    digest = hashlib.blake2b(os.fsencode(plain), digest_size=8).hexdigest()
    return Path(f"/tmp/psup-{os.getuid()}/{digest}.sock")  # noqa: S108 - checked to be ours


def ring(home: Path, pipeline: str) -> bool:
    """Wake the daemon; False when nobody listens. Never waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.setblocking(False)
        try:
            bell.sendto(b"\n", os.fsencode(address(home, pipeline)))
        except BlockingIOError:
            return True  # its queue is full of rings: it will look
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _leave_it(key: str, descriptor: int) -> None:
    """Take nothing."""


def hand_over(home: Path, pipeline: str, key: str, descriptor: int) -> bool:
    """Give the daemon a memory file under a key; False when nobody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.settimeout(_HAND_OVER_S)
        try:
            bell.connect(os.fsencode(address(home, pipeline)))
            socket.send_fds(bell, [key.encode()], [descriptor])
        except (FileNotFoundError, ConnectionRefusedError, TimeoutError):
            return False
    return True


class Doorbell:
    """Listens in a thread of its own, for rings and for the death of the heart.

    Args:
        home, pipeline: whose bell it is; an abandoned socket of a dead daemon is replaced.
        on_ring: called for every ring, from the thread.
        heart_pid: the parent that restarts the daemon; its death is logged, nothing ends.
        on_delivery: called from the thread with the key and the descriptor of what was handed
            over; the descriptor is closed afterwards.
    """

    def __init__(
        self,
        home: Path,
        pipeline: str,
        on_ring: Callable[[], None],
        heart_pid: int | None = None,
        on_delivery: Callable[[str, int], None] = _leave_it,
    ) -> None:
        self._on_delivery = on_delivery
        self._address = address(home, pipeline)
        private_folder(self._address.parent)
        self._address.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(os.fsencode(self._address))
        self._address.chmod(0o600)
        self._socket.setblocking(False)
        self._on_ring = on_ring
        self.heart_is_gone = threading.Event()
        self._heart = None if heart_pid is None else self._watch(heart_pid)
        self._end, self._ender = os.pipe()
        self._thread = threading.Thread(target=self._listen, name="psup-doorbell", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ender)
        self._thread.join()
        os.close(self._end)
        if self._heart is not None:
            os.close(self._heart)
        self._address.unlink(missing_ok=True)
        self._socket.close()

    def _listen(self) -> None:
        poll = select.poll()
        for descriptor in (self._socket.fileno(), self._end, self._heart):
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._end in ready:
                return
            if self._heart in ready:
                poll.unregister(self._heart)
                self._miss_the_heart()
            if self._socket.fileno() in ready:
                self._swallow()
                self._on_ring()

    def _swallow(self) -> None:
        """Take all rings that are there: they mean no more than one. Take what came with them."""
        try:
            while True:
                key, descriptors, _, _ = socket.recv_fds(self._socket, _LONGEST_KEY_BYTES, 1)
                for descriptor in descriptors:
                    try:
                        self._on_delivery(key.decode(errors="replace"), descriptor)
                    except (OSError, ValueError) as error:
                        _log.warning("what came under %r cannot be read: %s", key, error)
                    finally:
                        os.close(descriptor)
        except BlockingIOError:
            return

    def _watch(self, pid: int) -> int | None:
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            self._miss_the_heart()
            return None

    def _miss_the_heart(self) -> None:
        _log.warning("the heart is gone: this daemon goes on, but nobody restarts it")
        self.heart_is_gone.set()
