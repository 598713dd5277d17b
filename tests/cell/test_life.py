"""Bodies that end in every way there is, under control groups and without: the cause is exact."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cell_world import BODIES, MIB, CellWorld

from supervisor.core.events import (
    Exited,
    ExitKind,
    ExitReason,
    LifeEvent,
    Ready,
    Started,
    Unresponsive,
)
from supervisor.core.spec import Health, Kind, Probe, Shutdown


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_task_that_returns_is_completed(world: CellWorld) -> None:
    """Started, Ready and Exited come in this order, with pid, enforcement and last lines."""
    world.start("quick", memory_bytes=256 * MIB, open_files=64)
    started, evidence = world.until(Started)
    assert started.pid == evidence["pid"]
    assert evidence["enforcement"].keys() == {"memory", "open_files"}
    world.until(Ready)
    exited, evidence = world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.COMPLETED)
    assert evidence["last_log_lines"] == ["hello from zoo/pen/beast"]
    assert evidence["exit_code"] == 0
    assert evidence["cpu_s"] > 0


@pytest.mark.parametrize(
    ("run", "cause"),
    [
        ("boom", "error(ValueError: no good)"),
        ("nothing_to_call", "exit(7)"),
        ("segfault", "signal(SIGSEGV)"),
        ("no_such_module:main", "error(ModuleNotFoundError: No module named 'no_such_module')"),
        ("later", "completed"),
        ("misbehave:Group.inner", "completed"),
        ("stop_in_child", "completed"),
    ],
)
def test_every_end_has_its_exact_cause(rlimit_world: CellWorld, run: str, cause: str) -> None:
    """Exceptions, exit codes and signals are told apart."""
    rlimit_world.start(run)
    exited, _ = rlimit_world.until(Exited)
    assert str(exited.reason) == cause


def test_an_exception_brings_its_traceback(world: CellWorld) -> None:
    """The traceback is evidence, and stands in the log too."""
    world.start("boom")
    _, evidence = world.until(Exited)
    assert 'raise ValueError("no good")' in evidence["traceback"]
    assert 'raise ValueError("no good")' in world.log()


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        (("true",), "completed"),
        (("sh", "-c", "exit 3"), "exit(3)"),
        (("sh", "-c", "kill -USR1 $$"), "signal(SIGUSR1)"),
        (
            ("no-such-program",),
            "error(FileNotFoundError: No such file or directory: 'no-such-program')",
        ),
        (("/etc",), "error(PermissionError: Permission denied: '/etc')"),
    ],
)
def test_programs_end_with_exact_causes(
    rlimit_world: CellWorld, command: tuple[str, ...], cause: str
) -> None:
    """A program needs nothing of ours; one that cannot be executed says why."""
    rlimit_world.start(command=command)
    exited, _ = rlimit_world.until(Exited)
    assert str(exited.reason) == cause


def test_a_program_is_ready_once_it_runs(world: CellWorld) -> None:
    """Ready follows the execution of the program, not its end."""
    world.start(command=("sleep", "600"), kind=Kind.SERVICE)
    world.until(Ready)
    world.cell.kill(1)
    exited, _ = world.until(Exited)
    assert exited.reason.kind is ExitKind.STOPPED


def test_a_missing_working_folder_is_an_error_not_a_hang(world: CellWorld) -> None:
    """A life that cannot begin ends with the obstacle as its cause."""
    world.start("quick", body_folder=BODIES / "nowhere")
    exited, _ = world.until(Exited)
    assert exited.reason.error_type == "FileNotFoundError"


def test_the_body_sees_its_own_environment_only(world: CellWorld, monkeypatch) -> None:
    """Nothing of the cell's environment reaches the body."""
    monkeypatch.setenv("OF_THE_CELL", "1")
    world.start(command=("env",), environment={"OF_THE_USER": "1"}, cpu_cores=1.5)
    world.until(Exited)
    names = {line.partition("=")[0] for line in world.log().splitlines()}
    assert "OF_THE_CELL" not in names
    assert {"OF_THE_USER", "PSUP_PATH", "OMP_NUM_THREADS"} <= names


# --------------------------------------------------------------------------------------- stopping


def test_a_stop_is_seen_by_the_body_and_called_stopped(world: CellWorld) -> None:
    """The stop signal sets `stopping`; a task that returns then may have returned early."""
    world.start("serve")
    world.until(Ready)
    world.cell.stop(1, "SIGTERM")
    exited, evidence = world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.STOPPED)
    assert evidence["exit_code"] == 0
    assert evidence["killed_after_grace"] is False


def test_another_stop_signal_is_understood(world: CellWorld) -> None:
    """`shutdown.signal` may be any signal, SIGINT included."""
    world.start("serve", shutdown=Shutdown(signal="SIGINT"))
    world.until(Ready)
    world.cell.stop(1, "SIGINT")
    exited, evidence = world.until(Exited)
    assert (str(exited.reason), evidence["exit_code"]) == ("stopped", 0)


def test_a_deaf_body_is_killed_after_grace(world: CellWorld) -> None:
    """The kill that follows an unheard stop is told in the evidence."""
    world.start("deaf", health=Health(ready=Probe("notify")))
    world.until(Ready)
    world.cell.stop(1, "SIGTERM")
    world.cell.kill(1)
    exited, evidence = world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.STOPPED)
    assert evidence["killed_after_grace"] is True
    assert evidence["signal"] == "SIGKILL"


def test_a_stop_before_the_first_instruction_is_honoured(world: CellWorld) -> None:
    """A body that is stopped on its way in ends as stopped."""
    world.start("serve")
    world.cell.stop(1, "SIGTERM")
    exited, _ = world.until(Exited)
    assert exited.reason.kind is ExitKind.STOPPED


def test_an_orphan_in_another_session_is_ended_before_exited(world: CellWorld) -> None:
    """`Exited` means that no process of the life is left, wherever it hid."""
    world.start("orphan")
    exited, _ = world.until(Exited)
    assert exited.reason.kind is ExitKind.COMPLETED
    marked = [
        pid
        for pid in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        if f"{world.scope}:{world.path}#1:".encode() in _environment(pid) and alive(int(pid))
    ]
    assert marked == []


def _environment(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


# ----------------------------------------------------------------------------------------- quotas


def test_a_memory_leak_ends_as_oom_at_the_quota(kernel_world: CellWorld) -> None:
    """The kernel's own count proves it, and the peak is the quota."""
    kernel_world.start("leak", memory_bytes=64 * MIB)
    exited, evidence = kernel_world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.OOM)
    assert evidence["oom_kills"] >= 1
    assert 60 * MIB <= evidence["peak_memory_bytes"] <= 64 * MIB
    assert evidence["quota"] == {"memory_bytes": 64 * MIB}


def test_an_oom_kill_of_a_child_ends_the_whole_segment(kernel_world: CellWorld) -> None:
    """A segment whose worker was killed must not limp on."""
    kernel_world.start("leak_in_child", memory_bytes=64 * MIB)
    exited, evidence = kernel_world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.OOM)
    assert evidence["signal"] == "SIGKILL", "the main process slept and was ended by the cell"


def test_without_groups_a_leak_meets_a_clean_memory_error(rlimit_world: CellWorld) -> None:
    """RLIMIT_DATA refuses the allocation; the cause is the same, and there is a traceback."""
    rlimit_world.start("leak", memory_bytes=64 * MIB)
    exited, evidence = rlimit_world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.OOM)
    assert "held.append(bytearray(MIB))" in evidence["traceback"]


def test_children_share_the_memory_quota(world: CellWorld) -> None:
    """Four processes of 40 MiB each are over 100 MiB together."""
    world.start("forked_leak", memory_bytes=100 * MIB)
    exited, _ = world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.OOM)


def test_a_fork_bomb_is_refused_by_the_kernel(kernel_world: CellWorld) -> None:
    """The fork that goes over the quota fails in the body, and the refusals are counted."""
    kernel_world.start("fork_many", processes=16)
    exited, evidence = kernel_world.until(Exited)
    assert exited.reason.error_type == "BlockingIOError"
    assert evidence["refused_forks"] >= 1


def test_without_groups_a_fork_bomb_is_killed(rlimit_world: CellWorld) -> None:
    """The sampler sees too many processes and ends the life."""
    rlimit_world.start("fork_many", processes=16)
    exited, _ = rlimit_world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.QUOTA, "processes")


def test_a_full_disk_quota_is_a_breach(world: CellWorld) -> None:
    """Scratch and checkpoint are measured together."""
    world.start("spill", disk_bytes=20 * MIB)
    exited, _ = world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.QUOTA, "disk")


def test_a_breach_during_the_grace_is_still_a_stop(world: CellWorld) -> None:
    """Whoever asked for the end gets it a little earlier; the cause stays the asking."""
    world.start("spill_when_stopped", disk_bytes=20 * MIB)
    world.until(Ready)
    world.cell.stop(1, "SIGTERM")
    exited, evidence = world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.STOPPED)
    assert evidence["signal"] == "SIGKILL"


def test_open_files_are_limited_from_the_first_instruction(world: CellWorld) -> None:
    """The program's own limit is the quota."""
    world.start(command=("sh", "-c", "ulimit -n"), open_files=37)
    world.until(Exited)
    assert world.log().strip() == "37"


def test_a_spinning_body_gets_its_share_of_cpu(kernel_world: CellWorld) -> None:
    """A quota of 0.2 cores holds against a busy loop."""
    kernel_world.start("spin", cpu_cores=0.2, health=Health(ready=Probe("notify")))
    kernel_world.until(Ready)
    kernel_world.until(None)  # half a second later
    kernel_world.cell.kill(1)
    _, evidence = kernel_world.until(Exited)
    assert evidence["cpu_s"] / evidence["duration_s"] < 0.3


def test_the_log_is_kept_below_its_size(world: CellWorld) -> None:
    """A log storm loses the oldest lines, never the newest."""
    world.start("chatter", log_bytes=MIB)
    exited, evidence = world.until(Exited)
    assert exited.reason.kind is ExitKind.COMPLETED
    assert evidence["last_log_lines"][-1] == "the last line"
    kept = sum(file.stat().st_size for file in (world.folder / "logs").iterdir())
    assert kept < 1.5 * MIB, "5 MiB were written"


# ----------------------------------------------------------------------------------------- health


def test_a_service_is_ready_when_it_says_so(world: CellWorld) -> None:
    """With `ready: notify` the call alone is not enough; words reach the measurements."""
    world.start("says_ready", kind=Kind.SERVICE, health=Health(ready=Probe("notify")))
    world.until(Ready)
    _, evidence = world.until(None)
    assert evidence["status"] == "warming up"
    assert list(evidence["progress"]) == [3, 4]
    assert evidence["memory_bytes"] > 0
    events = [notice["event"]["type"] for notice in world.cell.watch(0) if notice["event"]]
    assert events == ["Started", "Ready"], "said twice, told once"


def test_a_body_that_never_says_ready_is_not_ready(rlimit_world: CellWorld) -> None:
    """No Ready comes before the end."""
    rlimit_world.start("never_ready", health=Health(ready=Probe("notify")))
    rlimit_world.until(Started)
    rlimit_world.cell.kill(1)
    event = None
    while event is None:  # measurements may come between
        event, _ = rlimit_world.until(LifeEvent)
    assert isinstance(event, Exited)


def test_a_silent_body_is_unresponsive(rlimit_world: CellWorld) -> None:
    """A watchdog that was never fed is told; ending the body is the core's order."""
    silence = Probe("notify", period_s=0.1, failures=3)
    rlimit_world.start("serve", kind=Kind.SERVICE, health=Health(alive=silence))
    unresponsive, _ = rlimit_world.until(Unresponsive)
    assert unresponsive.detail == "no heartbeat for 0.3 s"
    assert rlimit_world.cell.describe()["alive"] is True


def test_heartbeats_keep_the_watchdog_quiet(rlimit_world: CellWorld) -> None:
    """The time runs from the last heartbeat, not from the start."""
    silence = Probe("notify", period_s=0.3, failures=2)
    rlimit_world.start("six_heartbeats", kind=Kind.SERVICE, health=Health(alive=silence))
    rlimit_world.until(Unresponsive)
    assert rlimit_world.log().splitlines()[-1] == "beat 5"


def test_an_exec_probe_runs_inside_the_enclosure(world: CellWorld) -> None:
    """The probe's program has the body's environment, folder and limits."""
    probe = Probe("exec", argv=("sh", "-c", "ulimit -n; test $PSUP_SEGMENT = beast"))
    world.start("serve", kind=Kind.SERVICE, health=Health(ready=probe), open_files=41)
    world.until(Ready)
    assert "41" in world.log()


# ------------------------------------------------------------------------------------ the cell dies


def test_the_body_dies_with_its_cell(world: CellWorld) -> None:
    """A cell that is killed takes its body with it; the next one clears what is left."""
    program = f"""
import sys, time
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from pathlib import Path
from cell_world import CellWorld
from supervisor.core.events import Ready
world = CellWorld(Path({str(world.folder)!r}), {world.limiter.mode!r},
                  run_folder=Path({str(world.folder / "r")!r}))
world.incarnation = 100
world.start("serve")
world.until(Ready)
print(world.cell.describe()["pid"], flush=True)
time.sleep(600)
"""
    host = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    body_pid = int(host.stdout.readline())
    body = os.pidfd_open(body_pid)
    host.kill()
    host.wait()
    host.stdout.close()
    deadline_s = time.monotonic() + 30
    while alive(body_pid) and time.monotonic() < deadline_s:
        time.sleep(0.01)  # the kernel's doing: there is nothing to wait on but the pid itself
    os.close(body)
    assert not alive(body_pid)
    world.incarnation = 100
    world.start("quick")
    exited, _ = world.until(Exited)
    assert exited.reason.kind is ExitKind.COMPLETED


def test_a_body_killed_from_outside_is_told_as_that(world: CellWorld) -> None:
    """SIGKILL without a breach and without an order is somebody else's doing."""
    world.start("serve")
    world.until(Ready)
    os.kill(world.cell.describe()["pid"], signal.SIGKILL)
    exited, evidence = world.until(Exited)
    assert exited.reason == ExitReason(ExitKind.SIGNAL, "SIGKILL")
    assert evidence["oom_kills"] == 0
