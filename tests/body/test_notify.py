"""Messages to the cell: one line per field, and no harm when nobody listens."""

from __future__ import annotations

import socket

from supervisor.body.notify import LONGEST_VALUE_CHARS, Notifier


def test_fields_travel_as_lines(ear) -> None:
    """Line breaks inside a value would start a new field."""
    assert Notifier(ear.address).send(READY="1", STATUS="two\nlines") is True
    assert ear.next() == "READY=1\nSTATUS=two lines"


def test_a_long_value_loses_its_end(ear) -> None:
    """A datagram must fit."""
    Notifier(ear.address).send(STATUS="x" * 10 * LONGEST_VALUE_CHARS)
    assert len(ear.next()) == len("STATUS=") + LONGEST_VALUE_CHARS


def test_abstract_addresses_are_understood() -> None:
    """Service managers may name a socket that has no file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0psup-test-notify")
        assert Notifier("@psup-test-notify").send(WATCHDOG="1") is True
        assert listener.recv(100) == b"WATCHDOG=1"


def test_nobody_listening_is_no_error(ear) -> None:
    """A body runs the same by hand, and when its cell is gone."""
    assert Notifier("").send(READY="1") is False
    notifier = Notifier(ear.address)
    ear.close()
    assert notifier.send(READY="1", must_arrive=True) is False


def test_a_full_socket_drops_what_need_not_arrive(ear) -> None:
    """Progress must not stall the work when the cell is slow."""
    notifier = Notifier(ear.address)
    sent = 0
    while notifier.send(STATUS=str(sent)):
        sent += 1
    assert sent > 0
    assert ear.next() == "STATUS=0"
