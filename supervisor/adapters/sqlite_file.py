"""What everybody who opens `state.db` agrees on: its name, its schema version, how it fails.

The daemon writes it through sqlite-utils (`sqlite_store.py`), the command line reads it with
nothing but the standard library (`cli/store_reader.py`). Both refuse a schema newer than they know
and both say the same words when the database cannot be used; a raw sqlite3 error reaches nobody.
Standard library only. The tables themselves are in `sqlite_schema.py` and `docs/store.md`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from supervisor.errors import StoreError

FILE_NAME = "state.db"

SCHEMA_VERSION = 1
"""The newest schema that this program knows; kept in the file as `PRAGMA user_version`."""

_HINTS = {
    sqlite3.SQLITE_BUSY: "another program holds it; `fuser {file}` names it, then try again",
    sqlite3.SQLITE_LOCKED: "another program holds it; `fuser {file}` names it, then try again",
    sqlite3.SQLITE_FULL: "make room on that disk; nothing of this step was written",
    sqlite3.SQLITE_READONLY: "check who owns {file} and its folder, and that the disk is writable",
    sqlite3.SQLITE_PERM: "check who owns {file} and its folder",
    sqlite3.SQLITE_CANTOPEN: "check that the folder of {file} exists and who owns it",
    sqlite3.SQLITE_CORRUPT: "move {file} away and launch again; `sqlite3 {file} .recover` may save "
    "what is in it",
    sqlite3.SQLITE_NOTADB: "move {file} away and launch again: it is no SQLite database",
    sqlite3.SQLITE_IOERR: "the disk reports errors; `dmesg` tells more (network disks do not work)",
}


def is_busy(error: BaseException) -> bool:
    """Tell whether somebody else is writing, which passes by itself."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    }


def is_unshareable(error: BaseException | None) -> bool:
    """Tell whether SQLite failed because it may not write beside the file it is to read."""
    return isinstance(error, sqlite3.Error) and _primary_code(error) in {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }


@contextmanager
def explained(file: Path, doing: str) -> Iterator[None]:
    """Turn whatever the database or its driver raises into a StoreError for a person.

    Args:
        file: the database.
        doing: what was being tried, to stand after "cannot": "save a step".
    """
    try:
        yield
    except (sqlite3.Error, OverflowError, json.JSONDecodeError) as error:
        hint = _HINTS.get(_primary_code(error), "run `psup doctor`").format(file=file)
        raise StoreError(f"cannot {doing}: {file}: {error}", hint=hint) from error


def refuse_newer_schema(version: int, file: Path) -> None:
    """Raise StoreError when a newer psup than this one has written the file."""
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{file} has schema {version}; this psup knows schemas up to {SCHEMA_VERSION}",
            hint="use the newer psup that wrote it, or another PSUP_HOME",
        )


def below(path: str) -> tuple[str, str]:
    """Return bounds [low, high) that hold every path below this one, for an index to use.

    >>> low, high = below("digits/data")
    >>> low <= "digits/data/ingest" < high, low <= "digits/data-2" < high
    (True, False)
    """
    return f"{path}/", f"{path}0"  # "0" is the character after "/"


def _primary_code(error: BaseException) -> int:
    code = getattr(error, "sqlite_errorcode", 0)  # absent on errors of the driver itself
    return int(code) & 0xFF
