"""Where segments leave results for each other: numbered editions, each complete or absent.

An edition is a folder (`v0007`) that holds `arrays.npz` and `facts.json`; `newest.json` names the
edition that readers are to use. A publisher writes into a folder that nobody reads, flushes it to
the disk, renames it, and replaces the pointer last. Killed at any instant, it leaves the shelf as
it was before or as it was meant to be, and at most an `.unfinished` folder that the next publisher
removes. Nothing here is pickled: an edition is data, so reading one can never run code.
Read next: `model.py` (what is kept in an edition of a model).
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ARRAYS = "arrays.npz"
FACTS = "facts.json"
POINTER = "newest.json"
UNFINISHED = ".unfinished"
LOCK = ".publishing.lock"

Arrays = Mapping[str, np.ndarray]
Facts = Mapping[str, Any]


class DamagedEdition(Exception):
    """The bytes on the disk are not the ones that were published."""


@dataclass(frozen=True, slots=True)
class Edition:
    """One published result.

    Args:
        number: 1 for the first on its shelf; never reused.
        digest: SHA-256 of `arrays.npz`, hexadecimal.
        facts: what the publisher said about it, JSON values.
        folder: where it lies.
    """

    number: int
    digest: str
    facts: Facts
    folder: Path

    @property
    def name(self) -> str:
        """`v0007`, as people and logs call it."""
        return self.folder.name

    def load(self) -> dict[str, np.ndarray]:
        """Read the arrays.

        Raises:
            DamagedEdition: the file's SHA-256 is not the digest that was published.
        """
        packed = (self.folder / ARRAYS).read_bytes()
        found = hashlib.sha256(packed).hexdigest()
        if found != self.digest:
            raise DamagedEdition(
                f"{self.folder / ARRAYS}: SHA-256 is {found}, expected {self.digest}"
            )
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            return dict(arrays)


def _always(_current: Edition, _facts: Facts) -> bool:
    return True


class Shelf:
    """The editions of one kind of result, in one folder that several processes may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pointer = folder / POINTER

    def newest(self) -> Edition | None:
        """The edition that the pointer names; None before the first one."""
        try:
            pointer = json.loads(self.pointer.read_bytes())
        except FileNotFoundError:
            return None
        return _read_edition(self.folder / pointer["edition"])

    def require_newest(self) -> Edition:
        """The edition that the pointer names.

        Raises:
            FileNotFoundError: nothing was published yet.
        """
        edition = self.newest()
        if edition is None:
            raise FileNotFoundError(f"nothing was published in {self.folder} yet")
        return edition

    def editions(self) -> list[Edition]:
        """All complete editions, oldest first."""
        found = (_read_edition(folder) for folder in self.folder.glob("v[0-9]*"))
        return sorted(found, key=lambda edition: edition.number)

    def publish(
        self,
        arrays: Arrays,
        facts: Facts,
        *,
        replaces: Callable[[Edition, Facts], bool] = _always,
    ) -> Edition:
        """Add an edition, or find the equal one that a life before this one published.

        Args:
            arrays: what readers load.
            facts: what readers may want to know about it, JSON values.
            replaces: asked with the newest edition so far and `facts`; False keeps the pointer
                where it is.

        Returns:
            The edition, which is on the disk for good.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        packed = buffer.getvalue()
        digest = hashlib.sha256(packed).hexdigest()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._one_publisher():
            edition = self._find(digest, facts) or self._add(packed, digest, facts)
            newest = self.newest()
            if newest is None or replaces(newest, facts):
                pointer = {"edition": edition.name, "digest": edition.digest}
                write_durably(self.pointer, _as_json(pointer))
        return edition

    @contextmanager
    def _one_publisher(self) -> Iterator[None]:
        """Hold the shelf's lock; the kernel lets go of it when the process dies."""
        with (self.folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _find(self, digest: str, facts: Facts) -> Edition | None:
        alike = (e for e in self.editions() if e.digest == digest and e.facts == facts)
        return next(alike, None)

    def _add(self, packed: bytes, digest: str, facts: Facts) -> Edition:
        unfinished = self.folder / UNFINISHED
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir()
        write_durably(unfinished / ARRAYS, packed)
        write_durably(unfinished / FACTS, _as_json({"digest": digest, "facts": facts}))
        editions = self.editions()
        number = editions[-1].number + 1 if editions else 1
        folder = self.folder / f"v{number:04d}"
        unfinished.rename(folder)
        _flush_folder(self.folder)
        return _read_edition(folder)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file: readers see the old content or all of the new, power cuts included."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    """Make renames inside a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_edition(folder: Path) -> Edition:
    label = json.loads((folder / FACTS).read_bytes())
    return Edition(
        number=int(folder.name.removeprefix("v")),
        digest=label["digest"],
        facts=label["facts"],
        folder=folder,
    )


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
