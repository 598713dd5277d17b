"""Starts a heart in the background, cut off from everything of the terminal that launches it.

Whoever called `psup launch` through a pipe must not hang, the terminal's folder must not be kept
busy, and closing the terminal must not end the pipeline: own session, own folder, no inherited
stream or descriptor but the parcel and the progress pipe. Read next: `heart.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import supervisor
from supervisor.daemon.parcel import Parcel, seal

_LONGEST_LOG_BYTES = 4 * 1024 * 1024


class Launched(NamedTuple):
    """A heart that was started.

    Args:
        heart: its process, our child.
        progress: descriptor of the reading end of the progress pipe; ends with the last writer.
    """

    heart: subprocess.Popen[bytes]
    progress: int


def start_heart(parcel: Parcel, log: Path) -> Launched:
    """Start the heart of that pipeline.

    Args:
        parcel: what its daemons will run; in the foreground they write to our stderr.
        log: what they write to in the background.
    """
    sealed = seal(parcel)
    reading, writing = os.pipe()
    place = "foreground" if parcel.options.foreground else "background"
    module = ["-m", "supervisor.daemon", parcel.spec.name, parcel.home]
    stderr = None if parcel.options.foreground else _open_log(log)
    try:
        heart = subprocess.Popen(
            [sys.executable, *module, str(sealed), str(writing), place],
            stdin=subprocess.DEVNULL,
            stdout=stderr if stderr is not None else subprocess.DEVNULL,
            stderr=stderr,
            cwd="/",
            env=_environment(),
            start_new_session=True,
            pass_fds=(sealed, writing),
        )
    finally:
        os.close(sealed)
        os.close(writing)
        if stderr is not None:
            os.close(stderr)
    return Launched(heart, reading)


def _open_log(log: Path) -> int:
    """Open the log for appending; one that has grown long becomes the previous one."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if log.stat().st_size > _LONGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
    return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _environment() -> dict[str, str]:
    """Return our environment, in which the same package is found from another folder.

    Only a checkout that was never installed needs that. An installed package is found anyway, and
    naming its folder first would let what lies beside it hide the standard library.
    """
    environment = dict(os.environ)
    root = Path(supervisor.__file__).parent.parent
    if root.name not in ("site-packages", "dist-packages"):
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{root}{os.pathsep}{known}" if known else str(root)
    return environment
