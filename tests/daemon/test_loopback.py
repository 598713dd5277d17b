"""Port numbers: the same over all restarts, never one that somebody has."""

from __future__ import annotations

import socket

import pytest

from supervisor.core.spec import Body, SegmentSpec
from supervisor.daemon.loopback import (
    FIRST_PORT,
    PORTS,
    choose,
    is_free,
    port_names,
    with_numbers,
)
from supervisor.errors import SupervisorError
from supervisor.runtime.executor import for_peers


def serve(**ports: int) -> SegmentSpec:
    return SegmentSpec("serve", body=Body(command=("x",), ports=ports))


def test_the_same_asker_gets_the_same_port():
    """Nothing but the name decides, as long as the port is free."""
    first = choose("home/p/serve/http", frozenset(), free=lambda _: True)
    assert first == choose("home/p/serve/http", frozenset(), free=lambda _: True)
    assert first != choose("home/p/serve/grpc", frozenset(), free=lambda _: True)
    assert FIRST_PORT <= first < FIRST_PORT + PORTS


def test_a_port_that_is_remembered_for_somebody_or_in_use_is_passed_over():
    """The next one after it is taken, and the range is a circle."""
    first = choose("a", frozenset(), free=lambda _: True)
    second = choose("a", frozenset({first}), free=lambda _: True)
    third = choose("a", frozenset({first}), free=lambda port: port != second)
    assert len({first, second, third}) == 3
    everything = range(FIRST_PORT, FIRST_PORT + PORTS)
    last = choose("a", frozenset(everything) - {first}, free=lambda _: True)
    assert last == first


def test_when_no_port_is_left_the_person_is_told():
    """It ends, and says what can be done."""
    with pytest.raises(SupervisorError, match="no free loopback port"):
        choose("a", frozenset(), free=lambda _: False)


def test_a_port_with_a_listener_is_not_free():
    """The real check: bound by somebody, it is taken; let go, it is free."""
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        port = somebody.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_ports_are_named_by_path_and_resolved_in_place():
    """Fixed numbers stay, asked ones are filled in, and names tell two segments apart."""
    segments = {"p/serve": serve(http=0, admin=8080), "p/web/serve": serve(http=0)}
    assert dict(port_names(segments)) == {
        "serve/http": 0,
        "serve/admin": 8080,
        "web/serve/http": 0,
    }
    resolved = with_numbers(segments, {"serve/http": 1, "web/serve/http": 2})
    assert resolved["p/serve"].body.ports == {"http": 1, "admin": 8080}
    assert resolved["p/web/serve"].body.ports == {"http": 2}


def test_peers_are_found_by_their_short_name_and_the_first_one_wins():
    """A monitor asks for serve/http; of two, the first in the file is meant."""
    segments = {"p/serve": serve(http=1, admin=8080), "p/web/serve": serve(http=2)}
    assert for_peers(segments) == {"serve/http": 1, "serve/admin": 8080}
