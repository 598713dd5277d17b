"""Start a process inside an enclosure, and learn at once whether its program could be executed.

Must be called from a thread that lives as long as the body: the kernel sends the parent-death
signal when the *thread* that forked ends. Read next: `body/enter.py`, the other end of this.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from supervisor.cell.surroundings import way_in
from supervisor.runtime.ports import Entry


@dataclass(slots=True)
class Spawned:
    """A process on its way in.

    Args:
        pid_fd: readable once the process has ended.
        report_fd: at its end of file the program runs; anything read before is why it cannot.
    """

    process: subprocess.Popen[bytes]
    pid_fd: int
    report_fd: int

    def close(self) -> None:
        """Close both descriptors."""
        os.close(self.pid_fd)
        os.close(self.report_fd)


def spawn(
    program: list[str],
    entry: Entry,
    *,
    folder: str,
    environment: Mapping[str, str],
    output_fd: int,
) -> Spawned:
    """Start the program in a session of its own, with its output appended to `output_fd`.

    Raises:
        OSError: the working folder does not exist, or the node is out of processes.
    """
    report_fd, tell_fd = os.pipe()
    command = way_in(entry, parent_pid=os.getpid(), report_fd=tell_fd, program=program)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output_fd,
            stderr=output_fd,
            pass_fds=(tell_fd,),
            start_new_session=True,
        )
    except OSError:
        os.close(report_fd)
        raise
    finally:
        os.close(tell_fd)
    try:
        return Spawned(process, os.pidfd_open(process.pid), report_fd)
    except OSError:  # out of descriptors: what cannot be watched must not run
        os.close(report_fd)
        process.kill()
        process.wait()
        raise
