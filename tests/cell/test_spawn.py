"""Starting a process: its session, what it inherits, and what happens when it cannot be."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from supervisor.cell.spawn import Spawned, spawn
from supervisor.runtime.ports import Entry


def run(tmp_path: Path, program: list[str], entry: Entry | None = None) -> tuple[int, str, str]:
    """Return exit code, output, and report of a program that was started and has ended."""
    with (tmp_path / "out").open("wb") as output:
        spawned: Spawned = spawn(
            program,
            entry or Entry(),
            folder=str(tmp_path),
            environment={"PATH": os.environ["PATH"], "ONLY": "this"},
            output_fd=output.fileno(),
        )
    select.select([spawned.pid_fd], [], [], 30)
    report = os.read(spawned.report_fd, 4096).decode()
    code = spawned.process.wait()
    spawned.close()
    return code, (tmp_path / "out").read_text(), report


def test_the_program_gets_its_own_session_folder_and_environment(tmp_path: Path) -> None:
    """And nothing else: no descriptors of ours, no variables of ours."""
    script = 'echo "$$ $(ps -o sid= -p $$)" $PWD $ONLY; ls /proc/$$/fd; env | grep -c PYTHON'
    _, output, report = run(tmp_path, ["sh", "-c", script])
    words = output.split()
    assert words[0] == words[1], "its own session"
    assert words[2:4] == [str(tmp_path), "this"]
    assert words[4:] == ["0", "1", "2", "0"], "three descriptors, and no variable"
    assert report == ""


def test_a_program_that_cannot_be_executed_says_why(tmp_path: Path) -> None:
    """The report tells the obstacle before the process ends with 127."""
    code, _, report = run(tmp_path, ["no-such-program"])
    assert code == 127
    assert report == "FileNotFoundError: No such file or directory: 'no-such-program'"


def test_a_group_that_cannot_be_joined_is_never_ignored(tmp_path: Path) -> None:
    """A body does not run with less protection than was promised."""
    code, output, report = run(tmp_path, ["echo", "ran"], Entry(join=["/nowhere/cgroup.procs"]))
    assert (code, output) == (127, "")
    assert report.startswith("FileNotFoundError: ")


def test_a_missing_folder_is_told_at_once(tmp_path: Path) -> None:
    """Nothing is started, and no descriptor is left open."""
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(FileNotFoundError):
        run(tmp_path / "none", ["true"])
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_no_signal_is_ignored_or_blocked_in_the_program(tmp_path: Path) -> None:
    """Whoever starts a cell may have blocked SIGINT, and Python ignores SIGPIPE."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        _, output, _ = run(tmp_path, ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    assert [int(line.split()[1], 16) for line in output.splitlines()] == [0, 0]
