"""Tells a changed value of an environment variable from the same one, and never what it is.

Values of `env:` are never stored. What is stored is a keyed digest of each: without the key, which
lies in a file of the home that only its owner can read, a digest gives nothing away, and the same
value has another digest in every other place. Read next: `cli/plan.py` (who compares).
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path as FilePath

from supervisor.core.spec import Path
from supervisor.errors import StoreError

_KEY_BYTES = 32


class HomeFingerprint:
    """`recording.Fingerprint` of one home.

    Args:
        home: `$PSUP_HOME`; its key is made when it is missing.

    Raises:
        StoreError: the key cannot be made or read.
    """

    def __init__(self, home: FilePath) -> None:
        self._key = _key(home / "fingerprint.key")

    def __call__(self, path: Path, name: str, value: str) -> str:
        """Return what stands for that value of that variable of that segment."""
        text = f"{path}\0{name}\0{value}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._key, digest_size=12).hexdigest()


def _key(file: FilePath) -> bytes:
    """Return the home's key; of two who make it at once, one is first."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with suppress(FileNotFoundError):
            return file.read_bytes()
        fresh.touch(mode=0o600)
        fresh.write_bytes(os.urandom(_KEY_BYTES))
        try:
            with suppress(FileExistsError):
                os.link(fresh, file)
        finally:
            fresh.unlink()
        return file.read_bytes()
    except OSError as error:
        raise StoreError(f"{file} cannot be used: {error.strerror}") from error
