"""Follows a launch until what was asked for has happened: the tree is up, done, or gone.

The facts are read from the store; the progress pipe only says when to look, and its end says that
no daemon is left. What the daemon refuses is raised here as the error it was over there.
Read next: `daemon/progress.py` (the writer), `launch.py` (who follows).
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from supervisor.cli.home import Home
from supervisor.cli.picture import Node, View, view, walk
from supervisor.cli.render import Terminal, say, terminal
from supervisor.cli.store_reader import StoreReader
from supervisor.cli.tree import draw
from supervisor.errors import SupervisorError, TimedOut

_LOOK_EVERY_S = 1.0
_SHORTEST_FRAME_S = 0.05
_BEING_STARTED = frozenset({"down", "bringing_up", "recycling"})
_MOVING = frozenset({"starting", "running", "stopping", "killing", "backoff"})
_CARED_FOR = frozenset({"starting", "running", "degraded", "restarting", "backoff"})

Reached = Callable[[View], bool]


class Display(Protocol):
    """Where progress is shown."""

    def doing(self, text: str) -> None:
        """Say what takes time now."""

    def show(self, seen: View) -> None:
        """Show how everything stands."""

    def close(self) -> None:
        """Leave the terminal as it should stay."""


class Lines:
    """One line on stderr for every segment whose state has changed: for pipes and logs."""

    def __init__(self, screen: Terminal | None = None) -> None:
        self._screen = screen or terminal(sys.stderr)
        self._before: dict[str, tuple[str, int]] = {}

    def doing(self, text: str) -> None:
        """Say what takes time now."""
        say(f"psup: {text}")

    def show(self, seen: View) -> None:
        """Write what is new since the last time."""
        for node in walk(seen.root):
            now = (node["state"], node["incarnation"])
            if node["kind"] == "supervisor" or now == self._before.get(node["path"]):
                continue
            known = node["path"] in self._before
            self._before[node["path"]] = now
            if known or node["state"] != "pending":
                say(self._line(node))

    def close(self) -> None:
        """Nothing to leave."""

    def _line(self, node: Node) -> str:
        if node["state"] == "pending":  # it ran before: its turn is over, not still to come
            return f"{node['path']}  {self._screen.state('stopped')}"
        planned = node["next"]["text"] if node["next"] else ""
        words = " → ".join(part for part in (node["cause"], planned) if part)
        line = f"{node['path']}  {self._screen.state(node['state'])}"
        return f"{line}  {words}" if words else line


class Live:
    """The tree itself on stderr, drawn over and over in the same place: for a terminal."""

    def __init__(self) -> None:
        self._height = 0
        self._drawn_s = 0.0

    def doing(self, text: str) -> None:
        """Say what takes time now."""
        self._draw([f"psup: {text}"])

    def show(self, seen: View) -> None:
        """Draw the tree, as much of it as fits."""
        screen = terminal(sys.stderr)
        lines = draw([seen.root], screen)
        room = (screen.height or len(lines) + 1) - 1
        if len(lines) > room:
            lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines"]
        self._draw(lines)

    def close(self) -> None:
        """The last picture stays."""

    def _draw(self, lines: list[str]) -> None:
        up = f"\x1b[{self._height}A" if self._height else ""
        body = "".join(f"{line}\x1b[K\n" for line in lines)
        sys.stderr.write(f"{up}\r{body}\x1b[J")
        sys.stderr.flush()
        self._height = len(lines)


class Ended(SupervisorError):
    """No daemon is left: the pipeline went down, or its daemon could not live."""


class Follower:
    """Follows one launch.

    Args:
        progress: the reading end of its pipe.
        home: where its store is.
        pipeline: its name.
        launch: its id; what the store knows of earlier launches is not shown.
    """

    def __init__(self, progress: int, home: Home, pipeline: str, launch: str) -> None:
        self._pipe = _Pipe(progress)
        self._home = home
        self._pipeline = pipeline
        self._launch = launch

    def follow(self, until: Reached, display: Display, timeout_s: float | None = None) -> View:
        """Return the picture in which what was waited for has happened.

        Args:
            until: tells whether a picture is the one.
            display: where progress is shown.
            timeout_s: how long to wait at most.

        Raises:
            SupervisorError: what the daemon refused, with its exit code.
            Ended: the last daemon is gone.
            TimedOut: it has not happened in time; the pipeline goes on.
        """
        give_up_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = _LOOK_EVERY_S if give_up_s is None else give_up_s - time.monotonic()
            for fact in self._pipe.read(min(_LOOK_EVERY_S, max(0.0, left_s))):
                _hear(fact, display)
            seen = self._look()
            if seen is not None:
                display.show(seen)
                if until(seen):
                    return seen
            if self._pipe.ended:
                log = self._home.daemon_log(self._pipeline)
                raise Ended(f"the daemon of {self._pipeline} is gone", hint=f"{log} says why")
            if left_s <= 0.0:
                raise TimedOut(
                    f"{self._pipeline} is not there yet after {timeout_s:g} s, and goes on",
                    hint=f"psup tree {self._pipeline} shows what it waits for",
                )

    def _look(self) -> View | None:
        """Return the picture of this launch, None while there is none."""
        if not self._pipe.saved:
            return None
        with StoreReader(self._home.state_db) as reader:
            row = reader.pipeline(self._pipeline)
            return view(reader, row) if row.info.get("launch") == self._launch else None


def _hear(fact: Mapping[str, Any], display: Display) -> None:
    if "doing" in fact:
        display.doing(fact["doing"])
    if "refused" in fact:
        error = SupervisorError(fact["refused"], hint=fact["hint"])
        error.exit_code = fact["exit_code"]
        raise error


def is_up(seen: View) -> bool:
    """Tell whether every segment had its first turn, or the pipeline failed before."""
    return seen.root["phase"] not in _BEING_STARTED or seen.row.state == "failed"


def is_done(seen: View) -> bool:
    """Tell whether no task will run any more unless a person starts it."""
    nodes = {node["path"]: node for node in walk(seen.root)}
    memory: dict[str, bool] = {}
    return not any(
        _comes(node["path"], nodes, memory) for node in nodes.values() if node["kind"] == "task"
    )


def _comes(path: str, nodes: Mapping[str, Node], memory: dict[str, bool]) -> bool:
    """Tell whether a segment moves by itself, or will once others have."""
    if path not in memory:
        node = nodes[path]
        if node["state"] == "waiting":
            memory[path] = all(_comes(awaited, nodes, memory) for awaited in node["waits_for"])
        elif node["state"] == "pending":
            memory[path] = _is_cared_for(path, nodes)
        else:
            memory[path] = node["state"] in _MOVING
    return memory[path]


def _is_cared_for(path: str, nodes: Mapping[str, Node]) -> bool:
    """Tell whether everything above is up or on its way: then its turn will come."""
    while parent := path.rpartition("/")[0]:
        node = nodes[parent]
        if node["state"] not in _CARED_FOR and node["phase"] != "down":
            return False
        path = parent
    return True


class _Pipe:
    """The reading end: facts, whether anything was saved yet, and whether anybody still writes."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._rest = b""
        self._last_s = 0.0
        self.saved = False
        self.ended = False
        os.set_blocking(descriptor, False)

    def read(self, timeout_s: float) -> Iterator[Mapping[str, Any]]:
        """Wait for a line or the end, give a burst of lines time to gather, yield the facts."""
        select.select([self._descriptor], [], [], timeout_s)
        hurry_s = self._last_s + _SHORTEST_FRAME_S - time.monotonic()
        if hurry_s > 0:
            time.sleep(hurry_s)
        self._last_s = time.monotonic()
        try:
            while chunk := os.read(self._descriptor, 65536):
                self._rest += chunk
            self.ended = True
        except BlockingIOError:
            pass
        *lines, self._rest = self._rest.split(b"\n")
        self.saved = self.saved or b"" in lines
        return (json.loads(line) for line in lines if line)
