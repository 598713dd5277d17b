"""How one step becomes rows of `state.db`, and which rows go when there are too many.

Every method here runs inside a transaction that `sqlite_store.py` has opened and fenced; nothing
here begins, commits or retries. This is the hot path, so it is plain SQL on sqlite-utils' own
connection: its upsert helpers look up the schema, and build and parse SQL, on every call, which
costs many times what the write itself does.
Read next: `sqlite_schema.py` (the tables), `runtime/retention.py` (the bounds).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from supervisor.core.actions import Answer
from supervisor.core.spec import Path
from supervisor.errors import StoreError
from supervisor.runtime.ports import JournalEntry, Json, LifeRecord, NodeRow, Sample
from supervisor.runtime.retention import Retention, surplus
from supervisor.runtime.stored_text import clean, clean_or_none, finite, to_json

_SAVE_NODE = (
    "INSERT INTO nodes (pipeline, path, parent, kind, position, spec, state)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SAVE_STATE = "UPDATE nodes SET state = ? WHERE path = ? AND pipeline = ?"
_SAVE_ENTRY = (
    "INSERT INTO journal (pipeline, at_s, wall_s, kind, type, path, data)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_SAVE_LIFE = """
    INSERT INTO incarnations (path, incarnation, pipeline, started_s, ready_s, ended_s, pid, node,
                              reason_kind, reason_detail, log, evidence)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (path, incarnation) DO UPDATE SET
      started_s = coalesce(excluded.started_s, started_s),
      ready_s = coalesce(excluded.ready_s, ready_s),
      ended_s = coalesce(excluded.ended_s, ended_s),
      pid = coalesce(excluded.pid, pid),
      node = coalesce(excluded.node, node),
      reason_kind = coalesce(excluded.reason_kind, reason_kind),
      reason_detail = coalesce(excluded.reason_detail, reason_detail),
      log = coalesce(excluded.log, log),
      evidence = coalesce(excluded.evidence, evidence)
"""
_SAVE_ANSWER = (
    "UPDATE requests SET answered_s = ?, ok = ?, code = ?, text = ?"
    " WHERE id = ? AND pipeline = ? AND answered_s IS NULL"
)
_SAVE_SAMPLE = (
    "INSERT INTO samples (path, incarnation, at_s, memory_bytes, cpu_cores, processes,"
    " open_files, disk_bytes, status, progress_done, progress_total)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Rows:
    """The rows of one pipeline, for writing.

    Args:
        connection: inside a transaction whenever a method is called.
        pipeline: whose rows; no other pipeline's are touched.
        retention: how much of the past to keep.
    """

    def __init__(self, connection: sqlite3.Connection, pipeline: str, retention: Retention) -> None:
        self._connection = connection
        self._pipeline = pipeline
        self._retention = retention

    # ---------------------------------------------------------------------------------- launch

    def replace_nodes(self, rows: Sequence[NodeRow]) -> None:
        """Put these nodes in the place of all others; the numbers of lives are not forgotten."""
        self._connection.execute(
            # A life that was decided, but of which no news came, is known only by its node.
            "INSERT OR IGNORE INTO incarnations (path, incarnation, pipeline)"
            " SELECT path, json_extract(state, '$.incarnation'), pipeline FROM nodes"
            " WHERE pipeline = ? AND kind <> 'supervisor'"
            " AND json_extract(state, '$.incarnation') > 0",
            (self._pipeline,),
        )
        self._connection.execute("DELETE FROM nodes WHERE pipeline = ?", (self._pipeline,))
        self._connection.executemany(_SAVE_NODE, map(self._node_values, rows))

    def refuse_unanswered(self, at_s: float) -> None:
        """Answer what was asked of an earlier launch: nobody may obey it now."""
        self._connection.execute(
            "UPDATE requests SET answered_s = ?, ok = 0, code = 'superseded',"
            " text = 'a new launch began before this was answered'"
            " WHERE pipeline = ? AND answered_s IS NULL",
            (at_s, self._pipeline),
        )

    def set_state(self, state: str) -> None:
        """Write the pipeline's own state: up, down or failed."""
        sql = "UPDATE pipelines SET state = ? WHERE name = ?"
        self._connection.execute(sql, (state, self._pipeline))

    def begin_launch(self, info: Json, at_s: float) -> None:
        """Replace the facts about the launch; from now on the pipeline is up."""
        self._connection.execute(
            "UPDATE pipelines SET state = 'up', info = ?, launched_s = ? WHERE name = ?",
            (to_json(info), at_s, self._pipeline),
        )

    def add_info(self, info: Json) -> None:
        """Merge facts into those about the launch."""
        sql = "SELECT info FROM pipelines WHERE name = ?"
        known = json.loads(self._connection.execute(sql, (self._pipeline,)).fetchone()[0])
        sql = "UPDATE pipelines SET info = ? WHERE name = ?"
        self._connection.execute(sql, (to_json({**known, **info}), self._pipeline))

    def remember_ports(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Add the ports that are not known yet; return the known port of each wanted name."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO ports (pipeline, name, port) VALUES (?, ?, ?)",
            [(self._pipeline, name, port) for name, port in wanted.items()],
        )
        sql = "SELECT name, port FROM ports WHERE pipeline = ?"
        known = dict(self._connection.execute(sql, (self._pipeline,)).fetchall())
        return {name: known[name] for name in wanted}

    # ------------------------------------------------------------------------------------ step

    def save_states(self, nodes: Mapping[Path, Json]) -> None:
        """Write the new state of each node, which must be there."""
        values = [(to_json(state), path, self._pipeline) for path, state in nodes.items()]
        if values and self._connection.executemany(_SAVE_STATE, values).rowcount != len(values):
            unknown = ", ".join(sorted(set(nodes) - self._paths()))
            raise StoreError(
                f"cannot save a step: {unknown} is no node of {self._pipeline}",
                hint="please report this",
            )

    def save_journal(self, journal: Iterable[JournalEntry], *, at_s: float, wall_s: float) -> None:
        """Write lines, all of one instant."""
        self._connection.executemany(
            _SAVE_ENTRY,
            [
                (self._pipeline, at_s, wall_s, one.kind, one.type, one.path, to_json(one.data))
                for one in journal
            ],
        )

    def save_life(self, life: LifeRecord) -> None:
        """Write what became known of one life; when it ended, lives long past are forgotten."""
        values = (
            life.path,
            life.incarnation,
            self._pipeline,
            life.started_s,
            life.ready_s,
            life.ended_s,
            life.pid,
            life.node,
            life.reason_kind,
            clean_or_none(life.reason_detail),
            clean_or_none(life.log),
            None if life.evidence is None else self._merged_evidence(life),
        )
        self._connection.execute(_SAVE_LIFE, values)
        if life.ended_s is not None:
            self._forget_lives_before(life)

    def save_answers(self, answers: Iterable[Answer], at_s: float) -> None:
        """Answer requests; the first answer of each stands."""
        self._connection.executemany(
            _SAVE_ANSWER,
            [
                (at_s, answer.ok, answer.code, clean(answer.text), answer.request, self._pipeline)
                for answer in answers
            ],
        )

    def save_samples(self, samples: Sequence[Sample]) -> None:
        """Write measurements, and thin those of their lives."""
        self._connection.executemany(_SAVE_SAMPLE, map(_sample_values, samples))
        for path, incarnation in {(sample.path, sample.incarnation) for sample in samples}:
            self._thin_samples(path, incarnation)

    # ------------------------------------------------------------------------------- retention

    def trim(self, now_s: float) -> None:
        """Drop journal and requests over the bounds; a bounded amount of work."""
        keep = self._retention
        self._connection.execute(
            "DELETE FROM journal WHERE pipeline = ?1 AND id <= (SELECT id FROM journal"
            " WHERE pipeline = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            (self._pipeline, keep.journal_rows),
        )
        self._connection.execute(
            "DELETE FROM journal WHERE id IN (SELECT id FROM"
            " (SELECT id, at_s FROM journal WHERE pipeline = ? ORDER BY id LIMIT 1000)"
            " WHERE at_s < ?)",
            (self._pipeline, now_s - keep.journal_age_s),
        )
        self._connection.execute(
            "DELETE FROM requests WHERE pipeline = ?1 AND answered_s IS NOT NULL AND id <="
            " (SELECT id FROM requests WHERE pipeline = ?1 AND answered_s IS NOT NULL"
            " ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            (self._pipeline, keep.answered_requests),
        )

    def _forget_lives_before(self, life: LifeRecord) -> None:
        keep = self._retention
        for table, lives in (
            ("incarnations", keep.lives_per_segment),
            ("samples", keep.sampled_lives),
        ):
            sql = f"DELETE FROM {table} WHERE path = ? AND incarnation <= ?"  # noqa: S608
            self._connection.execute(sql, (life.path, life.incarnation - lives))

    def _thin_samples(self, path: Path, incarnation: int) -> None:
        keep = self._retention.samples_per_life
        life = (path, incarnation)
        sql = "SELECT count(*) FROM samples WHERE path = ? AND incarnation = ?"
        if self._connection.execute(sql, life).fetchone()[0] <= keep:
            return
        sql = (
            "SELECT rowid, memory_bytes FROM samples WHERE path = ? AND incarnation = ?"
            " ORDER BY at_s, rowid"
        )
        rows = self._connection.execute(sql, life).fetchall()
        going = surplus([memory_bytes for _, memory_bytes in rows], keep)
        sql = "DELETE FROM samples WHERE rowid = ?"
        self._connection.executemany(sql, [(rows[at][0],) for at in going])

    # ---------------------------------------------------------------------------------- values

    def _merged_evidence(self, life: LifeRecord) -> str:
        """Add what became known to what was: the start's facts and the end's stand together."""
        sql = "SELECT evidence FROM incarnations WHERE path = ? AND incarnation = ?"
        row = self._connection.execute(sql, (life.path, life.incarnation)).fetchone()
        known = json.loads(row[0]) if row is not None and row[0] is not None else {}
        return to_json({**known, **(life.evidence or {})})

    def _node_values(self, row: NodeRow) -> tuple[Any, ...]:
        spec, state = to_json(row.spec), to_json(row.state)
        return (self._pipeline, row.path, row.parent, row.kind, row.position, spec, state)

    def _paths(self) -> set[str]:
        sql = "SELECT path FROM nodes WHERE pipeline = ?"
        return {path for (path,) in self._connection.execute(sql, (self._pipeline,))}


def _sample_values(sample: Sample) -> tuple[Any, ...]:
    return (
        sample.path,
        sample.incarnation,
        sample.at_s,
        sample.memory_bytes,
        finite(sample.cpu_cores),
        sample.processes,
        sample.open_files,
        sample.disk_bytes,
        clean_or_none(sample.status),
        finite(sample.progress_done),
        finite(sample.progress_total),
    )
