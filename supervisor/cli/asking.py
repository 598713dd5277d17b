"""How the command line asks a daemon for something: a row in `requests`, and its answer.

The only writing that the command line does, with the standard library's sqlite3. A request is
refused at once when nobody is there who could ever answer; the daemon is woken by whoever called
(`Home.wake`), this only waits. Read next: `store_reader.py`, `core/actions.py` (`Answer`).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from supervisor.adapters.sqlite_file import explained
from supervisor.cli.store_reader import OwnerRow, PipelineRow, RequestRow, StoreReader
from supervisor.errors import NotRunning, TimedOut
from supervisor.runtime.process_identity import is_alive, parent_is_alive

_BUSY_TIMEOUT_S = 5.0
_FIRST_WAIT_S = 0.001
_LONGEST_WAIT_S = 0.02
_LIFE_CHECK_S = 0.5


def ask(file: Path, verb: str, path: str, args: Mapping[str, Any] | None = None) -> int:
    """Write a request for the daemon of that path's pipeline and return its id.

    Args:
        file: `state.db`.
        verb: "start", "stop", "restart" or "down".
        path: the full path of a node; the pipeline's name for the whole of it.
        args: further details, JSON.

    Raises:
        NoSuchTarget: the pipeline was never launched.
        NotRunning: nothing was launched yet, or no daemon runs it and nobody restarts one.
        StoreError: the store cannot be written.
    """
    name = path.partition("/")[0]
    with StoreReader(file) as reader:
        pipeline = reader.pipeline(name)
        if not _somebody_answers(pipeline.owner):
            raise NotRunning(f"pipeline {name} is not running", hint=_how_to_launch(pipeline))
        asked_s = reader.now_s(pipeline)
    row = (name, verb, path, json.dumps(dict(args or {})), asked_s)
    with explained(file, f"ask for {verb} {path}"):
        uri = f"{file.absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S)) as connection:
            with connection:
                cursor = connection.execute(
                    "INSERT INTO requests (pipeline, verb, path, args, asked_s)"
                    " VALUES (?, ?, ?, ?, ?)",
                    row,
                )
            assert cursor.lastrowid is not None
            return cursor.lastrowid


def wait_for_answer(file: Path, request: int, timeout_s: float) -> RequestRow:
    """Return the answered request.

    Args:
        file: `state.db`.
        request: what `ask` returned.
        timeout_s: how long to wait at most.

    Raises:
        TimedOut: nobody answered in time; the request still stands.
        NotRunning: the daemon and its parent ended without an answer.
    """
    give_up_s = time.monotonic() + timeout_s
    next_life_check_s = time.monotonic() + _LIFE_CHECK_S
    wait_s = _FIRST_WAIT_S
    with StoreReader(file) as reader:
        while (row := reader.request(request)).answered_s is None:
            now_s = time.monotonic()
            if now_s >= give_up_s:
                raise TimedOut(
                    f"{row.verb} {row.path} was not answered within {timeout_s:g} s",
                    hint=f"the request stands; `psup why {row.path}` shows what is in its way",
                )
            if now_s >= next_life_check_s:
                next_life_check_s = now_s + _LIFE_CHECK_S
                _check_life(reader, row)
            time.sleep(min(wait_s, give_up_s - now_s))
            wait_s = min(wait_s * 1.5, _LONGEST_WAIT_S)
    return row


def _check_life(reader: StoreReader, row: RequestRow) -> None:
    pipeline = reader.pipeline(row.pipeline)
    # The answer may have been the daemon's last word: look again before declaring it lost.
    if _somebody_answers(pipeline.owner) or reader.request(row.id).answered_s is not None:
        return
    raise NotRunning(
        f"the daemon of {row.pipeline} ended before it answered {row.verb} {row.path}",
        hint=_how_to_launch(pipeline),
    )


def _somebody_answers(owner: OwnerRow | None) -> bool:
    return owner is not None and (is_alive(owner) or parent_is_alive(owner))


def _how_to_launch(pipeline: PipelineRow) -> str:
    return f"psup launch {pipeline.info.get('file', 'FILE')}"
