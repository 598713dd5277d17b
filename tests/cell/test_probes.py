"""Probes against real listeners on loopback: ready promptly, unresponsive after enough failures."""

from __future__ import annotations

import http.server
import queue
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from supervisor.cell.probes import Prober
from supervisor.core.spec import Health, Probe


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers with the next of the server's statuses, then with its status."""

    def do_GET(self) -> None:
        self.server.asked.put(self.path)
        self.send_response(next(self.server.statuses, self.server.status))
        self.end_headers()

    def log_message(self, *_args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    made.status = 200
    made.statuses = iter(())
    made.asked = queue.Queue()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


class Asked:
    """A prober and what it told."""

    def __init__(self, health: Health, ports: dict[str, int] | None = None) -> None:
        self.told: queue.Queue[str] = queue.Queue()
        self.prober = Prober(
            health,
            ports or {},
            subprocess.Popen,
            ready=lambda: self.told.put("ready"),
            unresponsive=self.told.put,
        )
        self.prober.start()

    def next(self) -> str:
        return self.told.get(timeout=30)


def port_of(server: http.server.HTTPServer) -> dict[str, int]:
    return {"http": server.server_address[1]}


def test_http_is_ready_at_the_first_good_answer(server) -> None:
    """Errors are asked again, quickly at first, whatever the period."""
    server.status = 503
    asked = Asked(Health(ready=Probe("http", target="/healthz", period_s=60)), port_of(server))
    assert [server.asked.get(timeout=30) for _ in range(3)] == ["/healthz"] * 3
    server.status = 204
    assert asked.next() == "ready"
    asked.prober.stop()


def test_tcp_is_ready_once_somebody_listens(server) -> None:
    """A connection is enough."""
    asked = Asked(Health(ready=Probe("tcp")), port_of(server))
    assert asked.next() == "ready"
    asked.prober.stop()


@pytest.mark.parametrize(
    ("argv", "told"),
    [(("true",), "ready"), (("sh", "-c", "test -e /proc/self"), "ready")],
)
def test_a_program_is_asked_by_its_exit_code(argv: tuple[str, ...], told: str) -> None:
    """Zero is healthy."""
    asked = Asked(Health(ready=Probe("exec", argv=argv)))
    assert asked.next() == told
    asked.prober.stop()


@pytest.mark.parametrize(
    ("probe", "complaint"),
    [
        (Probe("exec", argv=("false",)), "exec: exit code 1"),
        (Probe("exec", argv=("sleep", "60")), "exec: no answer within 0.05 s"),
        (Probe("exec", argv=("no-such-program",)), "exec: "),
        (Probe("http", port="admin"), "http: the segment has no port 'admin'"),
        (Probe("tcp", port="closed"), "tcp: [Errno 111] Connection refused"),
    ],
)
def test_enough_failures_in_a_row_are_told_with_the_last_one(probe: Probe, complaint: str) -> None:
    """Each way of failing is named, and how often it happened."""
    alive = Probe(
        probe.how,
        port=probe.port,
        argv=probe.argv,
        period_s=0.01,
        timeout_s=0.05,
        failures=2,
    )
    asked = Asked(Health(alive=alive), {"closed": 1})
    asked.prober.body_is_ready()
    told = asked.next()
    assert told.startswith(complaint)
    assert told.endswith("(2 times in a row)")
    asked.prober.stop()


def test_a_good_answer_ends_the_row(server) -> None:
    """Failures count only in a row: six before the last three are not enough."""
    answers = [503, 503, 200, 503, 503, 204, 503, 503, 399, 500, 500, 500]
    server.statuses = iter(answers)
    asked = Asked(Health(alive=Probe("http", period_s=0.01, failures=3)), port_of(server))
    asked.prober.body_is_ready()
    assert asked.next() == "http: status 500 (3 times in a row)"
    assert server.asked.qsize() >= len(answers)
    asked.prober.stop()


def test_alive_is_not_asked_before_ready(server) -> None:
    """A slow start is no hang: the core's start timeout is there for that."""
    ready, alive = Probe("exec", argv=("false",), period_s=0.01), Probe("http", period_s=0.01)
    asked = Asked(Health(ready=ready, alive=alive), port_of(server))
    with pytest.raises(queue.Empty):
        server.asked.get(timeout=0.2)
    asked.prober.stop()


def test_stopping_ends_a_program_that_is_under_way() -> None:
    """Nothing may be left in the enclosure once the prober was stopped."""
    started: queue.Queue[subprocess.Popen[bytes]] = queue.Queue()

    def execute(argv: tuple[str, ...]) -> subprocess.Popen[bytes]:
        started.put(subprocess.Popen(argv))
        return started.queue[0]

    prober = Prober(
        Health(ready=Probe("exec", argv=("sleep", "600"), timeout_s=600)),
        {},
        execute,
        ready=lambda: None,
        unresponsive=lambda _detail: None,
    )
    prober.start()
    process = started.get(timeout=30)
    began_s = time.monotonic()
    while prober._program is None:
        time.sleep(0.001)
    prober.stop()
    assert process.wait(timeout=30) == -9
    assert time.monotonic() - began_s < 30
