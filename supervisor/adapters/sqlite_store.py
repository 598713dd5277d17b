"""The store in `state.db`; together with `sqlite_schema.py` the only user of sqlite-utils.

One step is one transaction, so the file always shows a state that the core has decided, never half
of one. Every write begins with `BEGIN IMMEDIATE` and compares the owner in the file with our own
inside that transaction: a daemon that lost its pipeline cannot write one row more.

What survives what. The file is in WAL mode with `synchronous=NORMAL`: a saved step is in the
kernel's hands when `save` returns, so the death of any process loses nothing. Power loss is another
matter: there the last steps since SQLite's latest sync could go. Their bodies died with the machine
and are started again from the older snapshot, which is right for all steps but those that somebody
outside was told about or that cannot be had again: a person's request that was answered, a task
that completed, a launch, an owner. These few are written with `synchronous=FULL`, which waits for
the disk, and take all steps before them along.

Decides nothing about pipelines. Never holds values of environment variables: they are left out
before they get here. Read next: `sqlite_rows.py` (what is written), `sqlite_schema.py` (the
tables), `ports.Store` (the promises), `docs/store.md` (for people with a SQL prompt).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Any

from sqlite_utils import Database

from supervisor.adapters.io_retry import patiently
from supervisor.adapters.sqlite_file import FILE_NAME, explained, is_busy
from supervisor.adapters.sqlite_rows import Rows
from supervisor.adapters.sqlite_schema import migrate
from supervisor.core.events import ExitKind
from supervisor.core.spec import Path
from supervisor.errors import AlreadyRunning, LostOwnership, StoreError
from supervisor.runtime.clock import Moment
from supervisor.runtime.ports import (
    Commit,
    Json,
    NodeRow,
    Owner,
    PendingRequest,
    Sample,
)
from supervisor.runtime.private_files import private_file, private_folder
from supervisor.runtime.process_identity import is_alive as is_process_alive
from supervisor.runtime.retention import Retention

_BUSY_TIMEOUT_S = 2.0
"""How long SQLite itself waits for another writer, in one try."""

_PATIENCE_S = 8.0
"""How long tries are begun; a writer holds the file for a millisecond, so this means trouble."""

_SAVES_BETWEEN_TRIMS = 128
_LONGEST_LOG_BYTES = 16 * 1024 * 1024


def open_store(
    home: FilePath,
    pipeline: str,
    *,
    retention: Retention | None = None,
    is_alive: Callable[[Owner], bool] = is_process_alive,
    wall_s: Callable[[], float] = time.time,
) -> SqliteStore:
    """Open the store of one pipeline, making folder, file and tables where they are missing.

    Args:
        home: `$PSUP_HOME`; one file there serves all its pipelines.
        pipeline: the pipeline's name.
        retention: how much of the past to keep.
        is_alive: tells whether an owner still runs; another one only in tests.
        wall_s: the machine's wall clock; another one only in tests.

    Raises:
        StoreError: the folder is not private, or the database cannot be used.
    """
    file, db = _open_database(home)
    return SqliteStore(
        db,
        file,
        pipeline,
        retention=retention or Retention(),
        is_alive=is_alive,
        wall_s=wall_s,
    )


def list_pipelines(home: FilePath) -> Mapping[str, Owner | None]:
    """Return every pipeline ever launched, and who owns it by the file (dead or alive).

    Raises:
        StoreError: the database cannot be used.
    """
    file, db = _open_database(home)
    with closing(db), explained(file, "list the pipelines"):
        rows = db.conn.execute("SELECT name, owner FROM pipelines ORDER BY name").fetchall()
        return {name: _owner(text) for name, text in rows}


def _open_database(home: FilePath) -> tuple[FilePath, Database]:
    private_folder(home)
    file = home / FILE_NAME
    private_file(file)  # SQLite gives its -wal and -shm the same mode
    with explained(file, "open the store"):
        connection = sqlite3.connect(
            file, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            # No plug-ins: nobody's code but ours belongs into the daemon.
            db = Database(connection, recursive_triggers=False, execute_plugins=False)
            # Here SQLite may report a busy file at once, without its own wait.
            patiently(lambda: _make_ready(db, file), when=is_busy, patience_s=_PATIENCE_S)
        except BaseException:
            connection.close()
            raise
    return file, db


def _make_ready(db: Database, file: FilePath) -> None:
    mode = db.conn.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(
            f"{file} lies on a disk that cannot share memory between processes",
            hint="set PSUP_HOME to a folder on a local disk",
        )
    db.conn.execute("PRAGMA synchronous = NORMAL")
    db.conn.execute(f"PRAGMA journal_size_limit = {_LONGEST_LOG_BYTES}")
    migrate(db, file)


class SqliteStore:
    """`ports.Store` for one pipeline; made by `open_store`.

    May be used from several threads: one transaction runs at a time.
    """

    def __init__(  # noqa: PLR0913 - only `open_store` calls it
        self,
        db: Database,
        file: FilePath,
        pipeline: str,
        *,
        retention: Retention,
        is_alive: Callable[[Owner], bool],
        wall_s: Callable[[], float],
    ) -> None:
        self._connection: sqlite3.Connection = db.conn
        self._file = file
        self._file_identity = _identity(file)
        self._pipeline = pipeline
        self._write = Rows(db.conn, pipeline, retention)
        self._is_alive = is_alive
        self._wall_s = wall_s
        self._owner: str | None = None
        self._saves = 0
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------- ownership

    def claim(self, owner: Owner) -> None:
        """Become the owner; AlreadyRunning if a living one exists."""
        text = json.dumps(asdict(owner))
        with self._transaction("claim the pipeline", lasting=True) as connection:
            found = _owner(self._owner_in_file(connection))
            if found is not None and found.token != owner.token and self._is_alive(found):
                raise AlreadyRunning(
                    f"pipeline {self._pipeline} is already running (daemon {found.pid})",
                    hint=f"psup tree {self._pipeline} shows it, psup down {self._pipeline} ends it",
                )
            connection.execute(
                "INSERT INTO pipelines (name, state, info, owner) VALUES (?, 'down', '{}', ?)"
                " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner",
                (self._pipeline, text),
            )
        self._owner = text

    def disown(self) -> None:
        """Give ownership back; the rows stay. Harmless when it was lost already."""
        ours, self._owner = self._owner, None
        with (
            suppress(LostOwnership),
            self._transaction("give up the pipeline", lasting=True) as connection,
        ):
            connection.execute(
                "UPDATE pipelines SET owner = NULL WHERE name = ? AND owner = ?",
                (self._pipeline, ours),
            )

    # ------------------------------------------------------------------------- launch and info

    def create(self, rows: Sequence[NodeRow], info: Json, at_s: float) -> None:
        """Begin a new launch: replace all nodes of the pipeline, keep its history."""
        with self._fenced("write the launch", lasting=True) as write:
            write.replace_nodes(rows)
            write.refuse_unanswered(at_s)
            write.begin_launch(info, at_s)

    def load_states(self) -> Mapping[Path, Json]:
        """Return the encoded state of every node; empty when there was no launch."""
        rows = self._rows(
            "SELECT path, state FROM nodes WHERE pipeline = ? ORDER BY rowid", self._pipeline
        )
        return {path: json.loads(state) for path, state in rows}

    def load_info(self) -> Json:
        """Return what `create` and `note` were given (clock offset, Ray address, file, ...)."""
        rows = self._rows("SELECT info FROM pipelines WHERE name = ?", self._pipeline)
        return dict(json.loads(rows[0][0])) if rows else {}

    def note(self, info: Json) -> None:
        """Merge facts into the pipeline's info."""
        with self._fenced("note a fact", lasting=True) as write:
            write.add_info(info)

    # ----------------------------------------------------------------------------------- steps

    def save(self, commit: Commit) -> None:
        """Write one step."""
        with self._fenced("save a step", lasting=_outlives_power_loss(commit)) as write:
            if commit.rows is None:
                write.save_states(commit.nodes)
            else:
                write.replace_nodes(commit.rows)
            if commit.info is not None:
                write.add_info(commit.info)
            write.save_journal(commit.journal, at_s=commit.at_s, wall_s=self._wall_s())
            for life in commit.lives:
                write.save_life(life)
            write.save_answers(commit.answers, commit.at_s)
            if commit.pipeline_state is not None:
                write.set_state(commit.pipeline_state)
            if self._saves % _SAVES_BETWEEN_TRIMS == 0:
                write.trim(commit.at_s)
        self._saves += 1

    def add_samples(self, samples: Sequence[Sample]) -> None:
        """Write measurements; old ones are thinned so that their number stays bounded."""
        with self._fenced("save measurements") as write:
            write.save_samples(samples)

    def pending_requests(self) -> Sequence[PendingRequest]:
        """Return unanswered requests, oldest first."""
        rows = self._rows(
            "SELECT id, verb, path, args FROM requests"
            " WHERE pipeline = ? AND answered_s IS NULL ORDER BY id",
            self._pipeline,
        )
        return [
            PendingRequest(request, verb, path, json.loads(args))
            for request, verb, path, args in rows
        ]

    # ---------------------------------------------------------------------- over all launches

    def last_incarnation(self, path: Path) -> int:
        """Return the highest number ever used for that path, 0 if none; survives relaunches."""
        rows = self._rows(
            # A life that was decided, but of which no news was saved, counts as well.
            "SELECT max("
            " coalesce((SELECT max(incarnation) FROM incarnations WHERE path = ?1), 0),"
            " coalesce((SELECT json_extract(state, '$.incarnation') FROM nodes WHERE path = ?1), 0)"
            ")",
            path,
        )
        return int(rows[0][0])

    def last_moment(self) -> Moment | None:
        """Return when the newest line of the journal was written; None if there is none."""
        rows = self._rows(
            "SELECT at_s, wall_s FROM journal WHERE pipeline = ? ORDER BY id DESC LIMIT 1",
            self._pipeline,
        )
        return Moment(*rows[0]) if rows else None

    def ports(self, wanted: Mapping[str, int]) -> Mapping[str, int]:
        """Return the remembered port of each name, after adding those not yet remembered."""
        with self._fenced("remember ports", lasting=True) as write:
            return write.remember_ports(wanted)

    def taken_ports(self) -> frozenset[int]:
        """Return every port remembered for any pipeline, so that a new one gets another."""
        return frozenset(port for (port,) in self._rows("SELECT port FROM ports"))

    def close(self) -> None:
        """Close the database."""
        with self._lock, explained(self._file, "close the store"):
            self._connection.close()

    # ---------------------------------------------------------------------------- transactions

    @contextmanager
    def _transaction(self, doing: str, *, lasting: bool = False) -> Iterator[sqlite3.Connection]:
        """Run what is inside as one write, or as none.

        Args:
            doing: what it is for, to stand after "cannot".
            lasting: must also survive a power loss, so wait for the disk.
        """
        connection = self._connection
        with self._lock, explained(self._file, doing):
            self._check_file()
            if lasting:
                connection.execute("PRAGMA synchronous = FULL")
            try:
                self._begin()
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if lasting:
                    connection.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _fenced(self, doing: str, *, lasting: bool = False) -> Iterator[Rows]:
        """Run what is inside as one write of the owner that we are."""
        with self._transaction(doing, lasting=lasting) as connection:
            found = self._owner_in_file(connection)
            if self._owner is None or found != self._owner:
                owner = _owner(found)
                by = "nobody" if owner is None else f"daemon {owner.pid}"
                raise LostOwnership(
                    f"cannot {doing}: pipeline {self._pipeline} now belongs to {by}",
                    hint=f"psup tree {self._pipeline} shows who runs it",
                )
            yield self._write

    def _begin(self) -> None:
        def begin() -> None:
            self._connection.execute("BEGIN IMMEDIATE")

        patiently(begin, when=is_busy, patience_s=_PATIENCE_S)

    def _check_file(self) -> None:
        """Refuse to write into a file that has no name any more: its successor has the truth."""
        if _identity(self._file) != self._file_identity:
            raise LostOwnership(
                f"{self._file} was removed or replaced while pipeline {self._pipeline} was running",
                hint="psup doctor finds what is left of it",
            )

    def _owner_in_file(self, connection: sqlite3.Connection) -> str | None:
        sql = "SELECT owner FROM pipelines WHERE name = ?"
        row = connection.execute(sql, (self._pipeline,)).fetchone()
        return None if row is None else row[0]

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        def read() -> list[tuple[Any, ...]]:
            return self._connection.execute(sql, values).fetchall()

        with self._lock, explained(self._file, "read the store"):
            return patiently(read, when=is_busy, patience_s=_PATIENCE_S)


def _outlives_power_loss(commit: Commit) -> bool:
    """Tell whether somebody was told of this step, or its result cannot be had again."""
    return bool(commit.answers) or any(
        life.reason_kind == ExitKind.COMPLETED.value for life in commit.lives
    )


def _owner(text: str | None) -> Owner | None:
    return None if text is None else Owner(**json.loads(text))


def _identity(file: FilePath) -> tuple[int, int] | None:
    """Return what tells one file from another of the same name; None when there is none."""
    try:
        found = os.stat(file)  # noqa: PTH116 - half the time of Path.stat, on every save
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
