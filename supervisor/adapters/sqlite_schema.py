"""The tables of `state.db`, as migrations from the first day.

A migration that was released is never edited; a change is a new one at the end, together with
`sqlite_file.SCHEMA_VERSION`. They run through sqlite-utils' own migrations, all in one transaction
that nobody else can write beside, so two first launches at once cannot meet half a schema. The
comments stand inside the SQL on purpose: `sqlite3 state.db .schema` shows them.
What the columns mean, with queries to start from: `docs/store.md`.
"""

from __future__ import annotations

from pathlib import Path

from sqlite_utils import Database, Migrations

from supervisor.adapters.sqlite_file import SCHEMA_VERSION, refuse_newer_schema

migrations = Migrations("psup")


@migrations(name="0001_first_schema")
def first_schema(db: Database) -> None:
    """Create everything."""
    db.executescript(
        """
        CREATE TABLE pipelines (
          name TEXT PRIMARY KEY,
          state TEXT NOT NULL,           -- up, down or failed
          info TEXT NOT NULL,            -- JSON: file, offset_s, boot_id, ray_address, ...
          owner TEXT,                    -- JSON: the daemon that may write; NULL when none may
          launched_s REAL                -- steady seconds; NULL before the first launch
        );

        CREATE TABLE nodes (
          pipeline TEXT NOT NULL,
          path TEXT PRIMARY KEY,         -- digits/training/train
          parent TEXT NOT NULL,          -- path of the supervisor above, '' for the root
          kind TEXT NOT NULL,            -- supervisor, task or service
          position INTEGER NOT NULL,     -- index among its siblings: start order
          spec TEXT NOT NULL,            -- JSON, without values of environment variables
          state TEXT NOT NULL            -- JSON: phase, incarnation, restarts, last_exit, ...
        );
        CREATE INDEX nodes_of_pipeline ON nodes (pipeline);

        CREATE TABLE journal (
          id INTEGER PRIMARY KEY,
          pipeline TEXT NOT NULL,
          at_s REAL NOT NULL,            -- steady seconds
          wall_s REAL NOT NULL,          -- Unix time
          kind TEXT NOT NULL,            -- event, action or report
          type TEXT NOT NULL,            -- Exited, Start, restart_scheduled, ...
          path TEXT NOT NULL,            -- '' when no node is concerned
          data TEXT NOT NULL             -- JSON
        );
        CREATE INDEX journal_of_pipeline ON journal (pipeline);
        CREATE INDEX journal_of_path ON journal (path);

        CREATE TABLE incarnations (
          path TEXT NOT NULL,
          incarnation INTEGER NOT NULL,  -- counts from 1 for ever, over all launches
          pipeline TEXT NOT NULL,
          started_s REAL,
          ready_s REAL,
          ended_s REAL,
          pid INTEGER,                   -- of the body
          node TEXT,                     -- the machine it ran on
          reason_kind TEXT,              -- completed, error, exit, signal, oom, ...
          reason_detail TEXT,
          log TEXT,                      -- absolute path of its output
          evidence TEXT,                 -- JSON: peak usage, exit code, traceback, ...
          PRIMARY KEY (path, incarnation)
        );

        CREATE TABLE samples (
          path TEXT NOT NULL,
          incarnation INTEGER NOT NULL,
          at_s REAL NOT NULL,
          memory_bytes INTEGER,
          cpu_cores REAL,
          processes INTEGER,
          open_files INTEGER,
          disk_bytes INTEGER,
          status TEXT,                   -- what the body said about itself
          progress_done REAL,
          progress_total REAL
        );
        CREATE INDEX samples_of_life ON samples (path, incarnation, at_s);

        CREATE TABLE requests (
          id INTEGER PRIMARY KEY AUTOINCREMENT,
          pipeline TEXT NOT NULL,
          verb TEXT NOT NULL,            -- start, stop, restart or down
          path TEXT NOT NULL,
          args TEXT NOT NULL,            -- JSON
          asked_s REAL NOT NULL,
          answered_s REAL,               -- NULL while nobody answered
          ok INTEGER,                    -- 1: done, 0: refused and nothing was changed
          code TEXT,                     -- "ok", or a stable word for the refusal
          text TEXT
        );
        CREATE INDEX requests_unanswered ON requests (pipeline) WHERE answered_s IS NULL;

        CREATE TABLE ports (
          pipeline TEXT NOT NULL,
          name TEXT NOT NULL,            -- serve/http
          port INTEGER NOT NULL,
          PRIMARY KEY (pipeline, name)
        );

        PRAGMA user_version = 1;
        """
    )


def migrate(db: Database, file: Path) -> None:
    """Bring the file to `SCHEMA_VERSION`; a file that is there already is only looked at.

    Raises:
        StoreError: a newer psup has written the file.
        sqlite3.Error: for the caller to explain.
    """
    if _version(db, file) == SCHEMA_VERSION:
        return
    db.conn.execute("BEGIN IMMEDIATE")  # sqlite-utils nests its own transactions inside
    try:
        _version(db, file)  # somebody newer may have been faster
        migrations.apply(db)
        db.conn.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _version(db: Database, file: Path) -> int:
    version = int(db.conn.execute("PRAGMA user_version").fetchone()[0])
    refuse_newer_schema(version, file)
    return version
