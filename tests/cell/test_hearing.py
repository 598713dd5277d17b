"""The notify protocol as bodies in any language speak it, and as broken ones do."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from supervisor.cell.hearing import LONGEST_STATUS_CHARS, NotifySocket, Said


@pytest.fixture
def ear(tmp_path: Path):
    made = NotifySocket(tmp_path / "r", "x.sock")
    yield made
    made.close()
    assert not made.path.exists()


def say(ear: NotifySocket, message: bytes) -> Said:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        mouth.sendto(message, str(ear.path))
    return ear.receive()


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"READY=1", Said(ready=True)),
        (b"READY=0", Said()),
        (b"WATCHDOG=1\nSTATUS=hello = world", Said(heartbeat=True, status="hello = world")),
        (b"X_PSUP_PROGRESS=3/12", Said(progress=(3.0, 12.0))),
        (b"X_PSUP_PROGRESS=3/", Said(progress=(3.0, None))),
        (b"X_PSUP_PROGRESS=many/12", Said()),
        (b"X_PSUP_RUNNING=1", Said(running=True)),
        (b"MAINPID=12\nFDSTORE=1\nno equals sign", Said()),
        (b"STATUS=\xff\xfe", Said(status="��")),
        (
            b'X_PSUP_ERROR={"type": "KeyError", "message": "k", "traceback": "t"}',
            Said(error={"type": "KeyError", "message": "k", "traceback": "t"}),
        ),
        (
            b"X_PSUP_ERROR=it broke",
            Said(error={"type": "Error", "message": "it broke", "traceback": ""}),
        ),
        (b"X_PSUP_ERROR=[1]", Said(error={"type": "Error", "message": "[1]", "traceback": ""})),
    ],
)
def test_messages_are_understood(ear: NotifySocket, message: bytes, expected: Said) -> None:
    """Known words are taken, others passed over, and nothing breaks the listener."""
    assert say(ear, message) == expected


def test_a_batch_keeps_the_last_word(ear: NotifySocket) -> None:
    """Many messages between two looks amount to the newest of each kind."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        for number in range(5):
            mouth.sendto(f"STATUS={number}".encode(), str(ear.path))
        mouth.sendto(b"READY=1", str(ear.path))
    assert ear.receive() == Said(ready=True, status="4")
    assert ear.receive() == Said()


def test_a_long_status_is_cut(ear: NotifySocket) -> None:
    """A body cannot fill the store with its status."""
    assert len(say(ear, b"STATUS=" + b"x" * 5000).status or "") == LONGEST_STATUS_CHARS


def test_nobody_else_can_reach_the_socket(ear: NotifySocket) -> None:
    """The folder is the user's alone."""
    assert stat.S_IMODE(ear.path.parent.stat().st_mode) == 0o700
