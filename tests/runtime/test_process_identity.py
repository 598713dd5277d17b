"""A recorded process is alive only while it is that very process."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from supervisor.errors import SupervisorError
from supervisor.runtime import process_identity
from supervisor.runtime.process_identity import (
    boot_id,
    is_alive,
    parent_is_alive,
    started_ticks,
    this_process,
)


def test_this_process_is_alive():
    """The process that describes itself is alive, and so is its parent."""
    owner = this_process("token")
    assert (owner.pid, owner.parent_pid, owner.token) == (os.getpid(), os.getppid(), "token")
    assert is_alive(owner)
    assert parent_is_alive(owner)


def test_another_start_time_or_boot_is_another_process():
    """A pid that was used again, or lives after a reboot, is not the recorded process."""
    owner = this_process("token")
    assert not is_alive(replace(owner, started_ticks=owner.started_ticks - 1))
    assert not is_alive(replace(owner, boot_id="an earlier boot"))
    assert not parent_is_alive(replace(owner, boot_id="an earlier boot"))


def test_a_zombie_is_dead():
    """A process that ended is dead before anybody has waited for it, and after."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        ticks = started_ticks(child.pid)
        assert ticks is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert started_ticks(child.pid) is None
    assert started_ticks(child.pid) is None


def test_a_parent_younger_than_its_child_is_a_stranger():
    """When the parent's pid belongs to a process that began later, the parent is gone."""
    owner = this_process("token")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        child = replace(
            owner, parent_pid=stranger.pid, started_ticks=started_ticks(stranger.pid) - 1
        )
        assert not parent_is_alive(child)
        stranger.kill()
    assert not parent_is_alive(replace(owner, parent_pid=stranger.pid))


def test_a_name_with_blanks_and_brackets_is_no_obstacle():
    """The start time is found whatever the program calls itself."""
    program = "import sys; open('/proc/self/comm', 'w').write(') S 1 (x'); print(); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        ticks = started_ticks(child.pid)
        child.kill()
    own_ticks = started_ticks(os.getpid())
    assert own_ticks <= ticks <= own_ticks + 3_600 * os.sysconf("SC_CLK_TCK")


def test_the_boot_has_one_name():
    """The boot id does not change while the machine runs, and is not empty."""
    assert boot_id() == boot_id() != ""


def test_a_machine_without_proc_is_named(monkeypatch, tmp_path):
    """Without /proc the error says what is needed."""
    monkeypatch.setattr(process_identity, "_BOOT_ID", tmp_path / "missing")
    with pytest.raises(SupervisorError, match="cannot be read") as caught:
        boot_id()
    assert "/proc" in caught.value.hint
