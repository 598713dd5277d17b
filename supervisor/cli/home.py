"""Where everything of `$PSUP_HOME` lies; the only place that knows the names below it.

    state.db                       the store
    ray/                           the embedded Ray: session, token, lock
    run/<pipeline>.sock            wakes the daemon
    pipelines/<pipeline>/
      daemon.log
      data/                        shared between the pipeline's segments
      segments/<path below>/       checkpoint/, scratch/<incarnation>/, logs/<incarnation>.log

Decides nothing else. Only `prepare` touches the disk: read commands must work on a folder that
they cannot change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self

from supervisor.adapters.sqlite_file import FILE_NAME
from supervisor.runtime.private_files import private_folder


class Home(NamedTuple):
    """One `$PSUP_HOME`.

    Args:
        root: absolute.

    >>> Home(Path("/home/ann/.psup")).segment("digits/training/train").as_posix()
    '/home/ann/.psup/pipelines/digits/segments/training/train'
    """

    root: Path

    @classmethod
    def resolve(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Return `$PSUP_HOME`, or `~/.psup` when it is unset or empty."""
        return cls(Path(environment.get("PSUP_HOME") or "~/.psup").expanduser().absolute())

    def prepare(self) -> None:
        """Make the folder, closed to other users.

        Raises:
            StoreError: it cannot be made, or an existing one is not safe to use.
        """
        private_folder(self.root)

    @property
    def state_db(self) -> Path:
        """The store's file."""
        return self.root / FILE_NAME

    @property
    def ray(self) -> Path:
        """What the embedded Ray keeps."""
        return self.root / "ray"

    def pipeline(self, name: str) -> Path:
        """Return the folder of one pipeline."""
        return self.root / "pipelines" / name

    def daemon_log(self, name: str) -> Path:
        """Return where the daemon of that pipeline writes what it does."""
        return self.pipeline(name) / "daemon.log"

    def data(self, name: str) -> Path:
        """Return the folder that the pipeline's segments share."""
        return self.pipeline(name) / "data"

    def segment(self, path: str) -> Path:
        """Return the folder of one segment, given its full path."""
        name, _, below = path.partition("/")
        return self.pipeline(name) / "segments" / below

    def wake(self, name: str) -> bool:
        """Tell the pipeline's daemon to look at its requests now; False when nobody listens."""
        from supervisor.daemon.wakeup import ring  # sockets and threads, for commands that ask

        return ring(self.root, name)
