"""A listening notify socket for the body's tests."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


class Ear:
    """Hears datagrams, as a cell does."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "n.sock")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(30)

    def next(self) -> str:
        return self._socket.recv(1 << 20).decode()

    def is_empty(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(1 << 20)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(30)
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def ear() -> Iterator[Ear]:
    folder = Path(tempfile.mkdtemp(prefix="psup-e-"))
    made = Ear(folder)
    yield made
    made.close()
    shutil.rmtree(folder)
