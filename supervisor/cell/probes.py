"""Ask a body from outside whether it is ready, and later whether it still answers.

Asking may take as long as its timeout, so it happens in a thread of its own: the keeper must hear
of a death at once. Finds out, never acts. `notify` is no question: the body speaks by itself, and
`life.py` listens. Read next: `life.py`.
"""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
from collections.abc import Callable

from supervisor.core.spec import Health, Probe

FIRST_PERIOD_S = 0.02
GROWTH = 1.5
LOOPBACK = "127.0.0.1"

Execute = Callable[[tuple[str, ...]], "subprocess.Popen[bytes]"]


class Prober:
    """Asks one life's `ready` probe until it succeeds, then its `alive` probe for ever.

    Args:
        health: what to ask; probes by `notify` are left out.
        ports: the body's port numbers.
        execute: starts the program of an `exec` probe inside the life's enclosure.
        ready: called once, at the first success; at once when there is no `ready` probe to ask.
        unresponsive: called with the last failure after `failures` of them in a row.
    """

    def __init__(
        self,
        health: Health,
        ports: dict[str, int],
        execute: Execute,
        *,
        ready: Callable[[], None],
        unresponsive: Callable[[str], None],
    ) -> None:
        self._ready_probe = _asked(health.ready)
        self._alive_probe = _asked(health.alive)
        self._ports = ports
        self._execute = execute
        self._ready = ready
        self._unresponsive = unresponsive
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._body_is_ready = threading.Event()

    def start(self) -> None:
        """Begin to ask; makes no thread when nothing is to be asked."""
        if self._ready_probe or self._alive_probe:
            threading.Thread(target=self._run, name="psup-probes", daemon=True).start()

    def body_is_ready(self) -> None:
        """Say that the body became ready without having been asked."""
        self._body_is_ready.set()

    def stop(self) -> None:
        """Ask no more; an answer that is under way is not reported, a program is killed."""
        with self._lock:
            self._over.set()
            if self._program is not None:
                self._program.kill()
        self._body_is_ready.set()

    def _run(self) -> None:
        if self._ready_probe:
            self._until_ready(self._ready_probe)
        self._body_is_ready.wait()
        if self._alive_probe:
            self._while_alive(self._alive_probe)

    def _until_ready(self, probe: Probe) -> None:
        """Poll quickly at first: a fast service should not wait for a slow period."""
        period_s = min(FIRST_PERIOD_S, probe.period_s)
        while not self._over.is_set():
            if self._ask(probe) is None:
                if not self._over.is_set():
                    self._ready()
                return
            self._over.wait(period_s)
            period_s = min(period_s * GROWTH, probe.period_s)

    def _while_alive(self, probe: Probe) -> None:
        failed = 0
        while not self._over.wait(probe.period_s):
            failure = self._ask(probe)
            failed = 0 if failure is None else failed + 1
            if failure is not None and failed >= probe.failures and not self._over.is_set():
                self._unresponsive(f"{failure} ({failed} times in a row)")
                failed = 0

    def _ask(self, probe: Probe) -> str | None:
        """Return what went wrong, or None when the body is well."""
        try:
            if probe.how == "exec":
                return self._ask_program(probe)
            port = self._ports.get(probe.port)
            if port is None:
                return f"{probe.how}: the segment has no port {probe.port!r}"
            return _ask_http(port, probe) if probe.how == "http" else _ask_tcp(port, probe)
        except (OSError, http.client.HTTPException) as error:
            return f"{probe.how}: {str(error) or type(error).__name__}"

    def _ask_program(self, probe: Probe) -> str | None:
        with self._lock:  # nothing may enter the enclosure once `stop` returned
            if self._over.is_set():
                return "exec: the body has ended"
            self._program = self._execute(probe.argv)
        try:
            code = self._program.wait(probe.timeout_s)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait()
            return f"exec: no answer within {probe.timeout_s:g} s"
        return None if code == 0 else f"exec: exit code {code}"


def _asked(probe: Probe | None) -> Probe | None:
    return None if probe is None or probe.how == "notify" else probe


def _ask_tcp(port: int, probe: Probe) -> str | None:
    try:
        socket.create_connection((LOOPBACK, port), probe.timeout_s).close()
    except OSError as error:
        return f"tcp: {error}"
    return None


def _ask_http(port: int, probe: Probe) -> str | None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=probe.timeout_s)
    try:
        connection.request("GET", probe.target or "/")
        status = connection.getresponse().status
    finally:
        connection.close()
    return None if 200 <= status < 400 else f"http: status {status}"
