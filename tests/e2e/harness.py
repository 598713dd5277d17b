"""What the end-to-end tests drive: `psup` as a person types it, and a client that never stops.

Nothing here reaches into the program: commands, their exit codes and their JSON, and HTTP.
"""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

PSUP = pathlib.Path(sys.executable).parent / "psup"
PIPELINES = pathlib.Path(__file__).resolve().parents[2] / "pipelines"


class Person:
    """Someone at a terminal with a $PSUP_HOME."""

    def __init__(self, home: pathlib.Path) -> None:
        self.home = home
        self.environment = {**os.environ, "PSUP_HOME": str(home), "NO_COLOR": "1"}

    def types(self, *words: str, limit_s: float = 90.0) -> subprocess.CompletedProcess[str]:
        """Run `psup WORDS` to its end."""
        return subprocess.run(
            [str(PSUP), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )

    def starts(self, *words: str) -> subprocess.Popen[str]:
        """Run `psup WORDS` beside the test."""
        return subprocess.Popen(
            [str(PSUP), *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sees(self, *words: str) -> Any:
        """Return what `psup WORDS --json` prints."""
        done = self.types(*words, "--json")
        assert "Traceback" not in done.stderr, done.stderr
        return json.loads(done.stdout)

    def tree(self, pipeline: str) -> dict[str, Any]:
        """Return the pipeline's node of `psup tree --json`."""
        return next(one for one in self.sees("tree")["pipelines"] if one["path"] == pipeline)

    def segment(self, path: str) -> dict[str, Any]:
        """Return one segment's node of `psup tree --json`."""
        pipeline = path.partition("/")[0]
        return next(one for one in leaves(self.tree(pipeline)) if one["path"] == path)

    def waits_for(
        self, path: str, *states: str, limit_s: float = 90.0, incarnation: int = 0
    ) -> dict[str, Any]:
        """Look at a segment until it is in one of these states."""
        return eventually(
            lambda: (
                (node := self.segment(path))
                and node["state"] in states
                and node["incarnation"] >= incarnation
                and node
            ),
            limit_s,
            f"{path} to be {' or '.join(states)}",
        )


def leaves(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every segment below a node."""
    if node["kind"] in {"task", "service"}:
        yield node
    for child in node["children"]:
        yield from leaves(child)


def eventually(question: Callable[[], Any], limit_s: float, what: str) -> Any:
    """Ask until the answer is true; how long it takes is not what these tests are about."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if answer := question():
            return answer
        time.sleep(0.4)
    raise AssertionError(f"waited {limit_s:.0f} s for {what}")


class Client:
    """Asks a service again and again from a thread of its own, and counts."""

    def __init__(self, port: int, route: str = "/healthz") -> None:
        self.port = port
        self.route = route
        self.answered = 0
        self.failures: list[str] = []
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self._thread.join()

    def _ask_on(self) -> None:
        while not self._enough.is_set():
            try:
                self._ask()
                self.answered += 1
            except (OSError, http.client.HTTPException, AssertionError) as problem:
                self.failures.append(repr(problem))
            self._enough.wait(0.02)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", self.route)
            reply = connection.getresponse()
            reply.read()
            assert reply.status == 200, reply.status
        finally:
            connection.close()


def end(pid: int) -> None:
    """SIGKILL, nothing gentler."""
    os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether this process exists and is no zombie."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}
