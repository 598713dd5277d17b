"""Asking a daemon and waiting for what comes of it, with one line that says what is waited for.

The answer to a request says whether the daemon took it; what comes of it shows in the tree. Waiting
changes nothing: Ctrl-C ends the wait, never what was asked for.
Read next: `asking.py` (the request's row), `control.py` and `down.py` (who waits).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from supervisor.cli.asking import ask, wait_for_answer
from supervisor.cli.home import Home
from supervisor.cli.picture import Node, open_store
from supervisor.cli.render import Terminal, say, terminal
from supervisor.cli.store_reader import OwnerRow, PipelineRow, StoreReader
from supervisor.cli.words import span
from supervisor.errors import NotRunning, TimedOut
from supervisor.runtime.process_identity import is_alive, parent_is_alive

_ANSWER_TIMEOUT_S = 15.0
_CHECK_S = 0.02
_REDRAW_S = 0.1


class Asked(NamedTuple):
    """One request that was written.

    Args:
        path: the node it is about.
        request: its id.
        incarnation_before: the node's incarnation when it was written.
    """

    path: str
    request: int
    incarnation_before: int


class ProgressLine:
    """One line on stderr that says what is being waited for; a pipe gets a line per change."""

    def __init__(self) -> None:
        self._screen: Terminal = terminal(sys.stderr)
        self._before = ""

    def show(self, words: str, key: str) -> None:
        """Say it; where nothing can be overwritten, only when the key has changed."""
        if self._screen.width is not None:
            sys.stderr.write(f"\r\x1b[K{words[: self._screen.width - 1]}")
            sys.stderr.flush()
        elif key != self._before:
            say(words)
        self._before = key

    def clear(self) -> None:
        """Leave an empty line for what comes next."""
        if self._screen.width is not None and self._before:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._before = ""


class Patience:
    """Waits for news, and for how long somebody wants to wait at all.

    Args:
        timeout_s: how long in all; None for ever.
    """

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._end_s = None if timeout_s is None else time.monotonic() + timeout_s

    def wait(self, reader: StoreReader, what: str, progress: ProgressLine) -> None:
        """Return when something was saved, or when it is time to draw the line again.

        Raises:
            TimedOut: it has been waited for long enough.
        """
        redraw_s = time.monotonic() + _REDRAW_S
        while not reader.changed():
            now_s = time.monotonic()
            if self._end_s is not None and now_s >= self._end_s:
                progress.clear()
                raise TimedOut(
                    f"{what} has not come about within {span(self._timeout_s or 0)}",
                    hint="it goes on; psup tree shows what it waits for",
                )
            if now_s >= redraw_s:
                return
            time.sleep(_CHECK_S)


@contextmanager
def left_alone_on_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the wait, and say that it ends nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        say("\npsup: no longer waiting; what was asked for goes on")
        raise


def ask_for(
    home: Home, verb: str, paths: Sequence[str], args: Mapping[str, Any] | None = None
) -> list[Asked]:
    """Write one request per path, and ring once per pipeline."""
    names = list(dict.fromkeys(path.partition("/")[0] for path in paths))
    with open_store(home) as reader:
        before = {
            node.path: int(node.state.get("incarnation", 0))
            for name in names
            for node in reader.nodes(name)
        }
    asked = [Asked(path, ask(home.state_db, verb, path, args), before[path]) for path in paths]
    for name in names:
        home.wake(name)
    return asked


def hear_answers(home: Home, asked: Sequence[Asked]) -> list[Asked]:
    """Tell what the daemon answered; return the requests that it took."""
    taken = []
    for one in asked:
        row = wait_for_answer(home.state_db, one.request, _ANSWER_TIMEOUT_S)
        if row.ok:
            say(f"psup: {one.path}: {row.text}")
            taken.append(one)
        else:
            say(f"psup: {row.verb} {one.path} was refused: {row.text}")
    return taken


def awaited(node: Node, others: int) -> str:
    """Return what a node that is waited for does now, and how many others are waited for."""
    planned = node["next"]["text"] if node["next"] else ""
    words = ", ".join(part for part in (node["state"], node["cause"], planned) if part)
    more = f" (and {others} more)" if others else ""
    return f"{node['name']}: {words}{more}"


def check_daemon(row: PipelineRow) -> None:
    """Refuse to wait for what nobody will do."""
    if row.owner is None or not cares(row.owner):
        raise NotRunning(
            f"the daemon of {row.name} is gone; what was asked for stands",
            hint=f"psup launch {row.info.get('file', 'FILE')}",
        )


def cares(owner: OwnerRow) -> bool:
    """Tell whether a daemon, or the parent that would start it again, is there."""
    return is_alive(owner) or parent_is_alive(owner)
