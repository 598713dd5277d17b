"""The way in: limits hold in the program, and a refused one ends the process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENTER = Path(__file__).parents[2] / "supervisor" / "body" / "enter.py"


def enter(
    *flags: str, program: list[str], parent: int | None = None, through: tuple[str, ...] = ()
) -> tuple[int, str, str]:
    """Return exit code, output and report."""
    reading, writing = os.pipe()
    command = [*through, sys.executable, "-I", "-S", "-E", str(ENTER), "--report", str(writing)]
    command += ["--parent", str(parent or os.getpid()), *flags, "--", *program]
    process = subprocess.run(
        command, pass_fds=[writing], capture_output=True, text=True, check=False
    )
    os.close(writing)
    report = os.read(reading, 4096).decode()
    os.close(reading)
    return process.returncode, process.stdout + process.stderr, report


def test_rlimits_hold_in_the_program() -> None:
    """Soft and hard: the program cannot raise them again."""
    flags = ("--rlimit", "RLIMIT_NOFILE=45", "--rlimit", "RLIMIT_FSIZE=1048576")
    code, output, _ = enter(*flags, program=["sh", "-c", "ulimit -n; ulimit -Hn; ulimit -f"])
    assert (code, output.split()[:2]) == (0, ["45", "45"])
    assert output.split()[2] in ("2048", "1024"), "blocks of 512 or 1024 bytes"


def test_a_limit_above_the_hard_one_is_lowered_to_it() -> None:
    """The user's own hard limit is the stronger promise."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    _, output, _ = enter("--rlimit", f"RLIMIT_NOFILE={hard * 2}", program=["sh", "-c", "ulimit -n"])
    assert int(output) == hard


def test_niceness_and_cores_are_set() -> None:
    """Absolute niceness, and only the given cores."""
    core = min(os.sched_getaffinity(0))
    script = "nice; grep Cpus_allowed_list /proc/self/status; cat /proc/self/oom_score_adj"
    flags = ("--nice", "7", "--cores", str(core), "--oom-score-adj", "345")
    _, output, _ = enter(*flags, program=["sh", "-c", script])
    assert output.split() == ["7", "Cpus_allowed_list:", str(core), "345"]


def test_precedence_without_rights_is_no_reason_to_fail() -> None:
    """A negative score that is not allowed becomes 0, and the program runs.

    Ray's workers have a score of 1000; nobody should be first to go only because of that.
    """
    as_in_a_worker = ("sh", "-c", 'echo 500 >/proc/self/oom_score_adj; exec "$@"', "sh")
    flags = ("--oom-score-adj", "-900")
    _, output, _ = enter(
        *flags, program=["cat", "/proc/self/oom_score_adj"], through=as_in_a_worker
    )
    assert int(output) in (-900, 0)


@pytest.mark.parametrize(
    "flags",
    [
        ("--join", "/nowhere/cgroup.procs"),
        ("--cores", "100000"),
        ("--rlimit", "RLIMIT_NOFILE=-5"),
    ],
)
def test_a_limit_that_cannot_be_set_ends_the_process(flags: tuple[str, str]) -> None:
    """The program must not run with less protection than was promised."""
    code, output, report = enter(*flags, program=["echo", "ran"])
    assert (code, output) == (127, "")
    assert report.partition(":")[0] in ("FileNotFoundError", "OSError", "ValueError")


def test_a_parent_that_is_gone_ends_the_process() -> None:
    """Between fork and the request to be told, the parent may have died."""
    code, output, _ = enter(program=["echo", "ran"], parent=1 << 22)
    assert (code, output) == (127, "")


def test_the_program_dies_with_the_process_that_started_it() -> None:
    """The kernel sends SIGKILL when the parent ends, however it ends."""
    script = f"""
import os, subprocess, sys
r, w = os.pipe()
p = subprocess.Popen([sys.executable, "-I", "-S", "-E", {str(ENTER)!r}, "--report", str(w),
                      "--parent", str(os.getpid()), "--", "sleep", "600"], pass_fds=[w])
os.close(w)
os.read(r, 1)  # end of file: the program runs
print(p.pid, flush=True)
os._exit(0)
"""
    host = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    stat = Path(f"/proc/{int(host.stdout)}/stat")
    deadline_s = time.monotonic() + 30
    while _lives(stat) and time.monotonic() < deadline_s:
        time.sleep(0.005)  # the kernel's doing; the pid is nobody's child here, so it is polled
    assert not _lives(stat)


def _lives(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
