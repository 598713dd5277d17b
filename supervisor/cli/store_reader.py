"""Reads `state.db` for the command line, with nothing but the standard library.

It opens the file read-only and takes no lock that a daemon would wait for. It works while a daemon
writes, after one was killed in the middle of a write (SQLite replays what the write-ahead log
holds), and in a folder that it cannot write to, as far as SQLite allows. It never migrates and
never writes; what the command line asks of a daemon goes through `asking.py`.
sqlite-utils takes 0.3 s to import: that is why it is not used here. Rows are plain tuples with
names, JSON columns are decoded, times are steady seconds (`runtime/clock.py`).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

from supervisor.adapters.sqlite_file import below, explained, is_unshareable, refuse_newer_schema
from supervisor.errors import NoSuchTarget, NotRunning, StoreError
from supervisor.runtime.clock import Moment, SteadyClock
from supervisor.runtime.process_identity import is_alive

_BUSY_TIMEOUT_S = 1.0


class OwnerRow(NamedTuple):
    """The daemon that may write a pipeline; ask `process_identity.is_alive` about it."""

    pid: int
    started_ticks: int
    boot_id: str
    token: str
    parent_pid: int


class PipelineRow(NamedTuple):
    """One pipeline: `state` is up, down or failed as it was last saved."""

    name: str
    state: str
    info: dict[str, Any]
    owner: OwnerRow | None
    launched_s: float | None

    @property
    def daemon_pid(self) -> int | None:
        """The daemon that runs it now; None when there is none, whatever `state` says."""
        return self.owner.pid if self.owner is not None and is_alive(self.owner) else None


class NodeRow(NamedTuple):
    """One supervisor or segment of the present launch."""

    path: str
    parent: str
    kind: str
    position: int
    spec: dict[str, Any]
    state: dict[str, Any]


class LifeRow(NamedTuple):
    """One incarnation of a segment."""

    path: str
    incarnation: int
    started_s: float | None
    ready_s: float | None
    ended_s: float | None
    pid: int | None
    node: str | None
    reason_kind: str | None
    reason_detail: str | None
    log: str | None
    evidence: dict[str, Any]


class SampleRow(NamedTuple):
    """One measurement of one life."""

    path: str
    incarnation: int
    at_s: float
    memory_bytes: int | None
    cpu_cores: float | None
    processes: int | None
    open_files: int | None
    disk_bytes: int | None
    status: str | None
    progress_done: float | None
    progress_total: float | None


class JournalRow(NamedTuple):
    """One event, action or report."""

    id: int
    at_s: float
    wall_s: float
    kind: str
    type: str
    path: str
    data: dict[str, Any]


class RequestRow(NamedTuple):
    """What a person asked for; `answered_s` is None until the daemon answered."""

    id: int
    pipeline: str
    verb: str
    path: str
    args: dict[str, Any]
    asked_s: float
    answered_s: float | None
    ok: bool | None
    code: str | None
    text: str | None


class StoreReader:
    """A read-only view of every pipeline of one `$PSUP_HOME`; close it, or use it as a context.

    Args:
        file: `state.db`.

    Raises:
        NotRunning: the file is missing or empty, so nothing was ever launched.
        StoreError: it cannot be read, or a newer psup has written it. So does every method.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection = _open(file)
        self._data_version = self._read_data_version()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Let every read inside see the same instant; keep it short, it holds up clean-up."""
        self._rows("BEGIN")
        try:
            yield
        finally:
            self._rows("ROLLBACK")

    def changed(self) -> bool:
        """Tell whether anybody wrote since the last time this was asked; takes microseconds."""
        before, self._data_version = self._data_version, self._read_data_version()
        return self._data_version != before

    def pipelines(self) -> list[PipelineRow]:
        """Return every pipeline ever launched, by name."""
        columns = ", ".join(PipelineRow._fields)
        rows = self._rows(f"SELECT {columns} FROM pipelines ORDER BY name")  # noqa: S608
        return [_pipeline_row(row) for row in rows]

    def pipeline(self, name: str) -> PipelineRow:
        """Return one pipeline.

        Raises:
            NoSuchTarget: no pipeline of that name was ever launched.
        """
        found = [row for row in self.pipelines() if row.name == name]
        if not found:
            raise NoSuchTarget(
                f"no pipeline is called {name!r}", hint="psup launch FILE starts one"
            )
        return found[0]

    def now_s(self, pipeline: PipelineRow) -> float:
        """Return the pipeline's steady time, for ages and for what comes next."""
        return SteadyClock.resume(pipeline.info, self._last_moment(pipeline.name)).now_s()

    def nodes(self, pipeline: str) -> list[NodeRow]:
        """Return the pipeline's nodes as they were written at launch: parents before children."""
        columns = ", ".join(NodeRow._fields)
        sql = f"SELECT {columns} FROM nodes WHERE pipeline = ? ORDER BY rowid"  # noqa: S608
        return [
            NodeRow._make((*plain, json.loads(spec), json.loads(state)))
            for *plain, spec, state in self._rows(sql, pipeline)
        ]

    def latest_lives(self, pipeline: str) -> dict[str, LifeRow]:
        """Return the newest life of every segment that had one, by path."""
        columns = ", ".join(f"life.{name}" for name in LifeRow._fields)
        sql = (
            f"SELECT {columns} FROM nodes JOIN incarnations AS life ON life.path = nodes.path"  # noqa: S608
            " AND life.incarnation ="
            " (SELECT max(incarnation) FROM incarnations WHERE path = nodes.path)"
            " WHERE nodes.pipeline = ?"
        )
        return {row[0]: _life_row(row) for row in self._rows(sql, pipeline)}

    def lives(self, path: str, limit: int = 100) -> list[LifeRow]:
        """Return the lives of one segment, newest first."""
        columns = ", ".join(LifeRow._fields)
        sql = (
            f"SELECT {columns} FROM incarnations WHERE path = ?"  # noqa: S608
            " ORDER BY incarnation DESC LIMIT ?"
        )
        return [_life_row(row) for row in self._rows(sql, path, limit)]

    def latest_samples(self, pipeline: str) -> dict[str, SampleRow]:
        """Return the newest measurement of every segment that has one, by path."""
        columns = ", ".join(f"sample.{name}" for name in SampleRow._fields)
        sql = (
            f"SELECT {columns} FROM nodes JOIN samples AS sample ON sample.rowid ="  # noqa: S608
            " (SELECT rowid FROM samples WHERE path = nodes.path"
            " ORDER BY incarnation DESC, at_s DESC LIMIT 1)"
            " WHERE nodes.pipeline = ?"
        )
        return {row[0]: SampleRow(*row) for row in self._rows(sql, pipeline)}

    def samples(self, path: str, incarnation: int) -> list[SampleRow]:
        """Return the measurements of one life, oldest first."""
        columns = ", ".join(SampleRow._fields)
        sql = (
            f"SELECT {columns} FROM samples"  # noqa: S608
            " WHERE path = ? AND incarnation = ? ORDER BY at_s, rowid"
        )
        return [SampleRow(*row) for row in self._rows(sql, path, incarnation)]

    def journal(  # noqa: PLR0913 - each is one way to narrow the same list
        self,
        pipeline: str,
        *,
        path: str = "",
        kinds: tuple[str, ...] = (),
        after_id: int = 0,
        since_s: float | None = None,
        limit: int = 1000,
    ) -> list[JournalRow]:
        """Return the newest lines that fit, oldest first.

        Args:
            pipeline: whose.
            path: only this node and what is below it.
            kinds: only these of "event", "action", "report".
            after_id: only lines with a higher id; the last id seen, when following.
            since_s: only lines at or after this steady time.
            limit: how many at most.
        """
        wanted, values = _whose(pipeline, path)
        if kinds:
            wanted.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += kinds
        if since_s is None:
            wanted.append("id > ?")
            values.append(after_id)
        else:
            # Time grows with the id: looking from the end finds the first line in little time.
            wanted.append(
                "id > max(?, coalesce((SELECT id FROM journal WHERE pipeline = ? AND at_s < ?"
                " ORDER BY id DESC LIMIT 1), 0))"
            )
            values += [after_id, pipeline, since_s]
        columns = ", ".join(JournalRow._fields)
        sql = (
            f"SELECT {columns} FROM journal WHERE {' AND '.join(wanted)}"  # noqa: S608
            " ORDER BY id DESC LIMIT ?"
        )
        rows = self._rows(sql, *values, limit)
        return [JournalRow._make((*plain, json.loads(data))) for *plain, data in reversed(rows)]

    def ports(self, pipeline: str) -> dict[str, int]:
        """Return the remembered port of each "segment/name"."""
        return dict(self._rows("SELECT name, port FROM ports WHERE pipeline = ?", pipeline))

    def request(self, request: int) -> RequestRow:
        """Return one request, answered or not.

        Raises:
            NoSuchTarget: there is no such request.
        """
        columns = ", ".join(RequestRow._fields)
        rows = self._rows(f"SELECT {columns} FROM requests WHERE id = ?", request)  # noqa: S608
        if not rows:
            raise NoSuchTarget(f"there is no request {request} in {self._file}")
        row = RequestRow(*rows[0])
        ok = None if row.ok is None else bool(row.ok)
        return row._replace(args=json.loads(rows[0][4]), ok=ok)

    def _last_moment(self, pipeline: str) -> Moment | None:
        sql = "SELECT at_s, wall_s FROM journal WHERE pipeline = ? ORDER BY id DESC LIMIT 1"
        rows = self._rows(sql, pipeline)
        return Moment(*rows[0]) if rows else None

    def _read_data_version(self) -> int:
        return int(self._rows("PRAGMA data_version")[0][0])

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with explained(self._file, "read the store"):
            return self._connection.execute(sql, values).fetchall()


def _open(file: Path) -> sqlite3.Connection:
    if not file.exists():
        raise _nothing_launched(file, "does not exist")
    try:
        return _connect(file, "mode=ro")
    except StoreError as error:
        # SQLite cannot read a file in WAL mode from a folder that it cannot write to, unless it is
        # told that nobody else writes. Without a log beside the file, nobody does.
        if _has_log(file) or not is_unshareable(error.__cause__):
            raise
        return _connect(file, "mode=ro&immutable=1")


def _connect(file: Path, parameters: str) -> sqlite3.Connection:
    with explained(file, "open the store"):
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?{parameters}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
        )
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            _refuse_what_is_not_ours(version, file)
        except BaseException:
            connection.close()
            raise
    return connection


def _refuse_what_is_not_ours(version: int, file: Path) -> None:
    refuse_newer_schema(version, file)
    if version == 0:
        raise _nothing_launched(file, "is empty")


def _nothing_launched(file: Path, why: str) -> NotRunning:
    return NotRunning(
        f"nothing was launched here yet: {file} {why}",
        hint="psup launch FILE starts a pipeline; PSUP_HOME says where its state lies",
    )


def _has_log(file: Path) -> bool:
    log = file.with_name(file.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _whose(pipeline: str, path: str) -> tuple[list[str], list[Any]]:
    """Return the condition for lines of a node and what is below it, and its values."""
    if path in {"", pipeline}:
        return ["pipeline = ?"], [pipeline]
    # A list of paths, unlike a range, lets the index find the few lines of a quiet node.
    wanted = "path IN (SELECT ? UNION SELECT path FROM nodes WHERE path >= ? AND path < ?)"
    return [wanted], [path, *below(path)]


def _pipeline_row(row: tuple[Any, ...]) -> PipelineRow:
    name, state, info, owner, launched_s = row
    owner_row = None if owner is None else OwnerRow(**json.loads(owner))
    return PipelineRow(name, state, json.loads(info), owner_row, launched_s)


def _life_row(row: tuple[Any, ...]) -> LifeRow:
    *plain, evidence = row
    return LifeRow._make((*plain, json.loads(evidence or "{}")))
