"""The doorbell: a ring arrives at once, only from us, and nobody is hurt when nobody listens."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from supervisor.daemon.wakeup import Doorbell, address, ring


def test_a_ring_reaches_the_daemon(tmp_path):
    """The callback runs, from another thread, without anybody polling."""
    rung = threading.Event()
    with Doorbell(tmp_path, "p", rung.set):
        assert ring(tmp_path, "p")
        assert rung.wait(10)


def test_many_rings_while_the_daemon_is_busy_do_not_block_the_caller(tmp_path):
    """A full queue means that the daemon will look anyway."""
    rung, go_on = threading.Event(), threading.Event()

    def busy() -> None:
        rung.set()
        assert go_on.wait(30)

    with Doorbell(tmp_path, "p", busy):
        assert ring(tmp_path, "p")
        assert rung.wait(10)
        assert all(ring(tmp_path, "p") for _ in range(2000))
        go_on.set()


def test_ringing_where_nobody_listens_says_so(tmp_path):
    """Neither a missing socket nor one that a dead daemon left behind is an error."""
    assert not ring(tmp_path, "p")
    with Doorbell(tmp_path, "p", lambda: None):
        pass
    assert not ring(tmp_path, "p")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(address(tmp_path, "p")))
    assert not ring(tmp_path, "p")


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path):
    """A daemon that was killed left its socket; the next one still hears."""
    (tmp_path / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(address(tmp_path, "p")))
    rung = threading.Event()
    with Doorbell(tmp_path, "p", rung.set):
        ring(tmp_path, "p")
        assert rung.wait(10)


def test_only_the_user_can_ring(tmp_path):
    """Socket and folder are closed to everybody else."""
    with Doorbell(tmp_path, "p", lambda: None):
        socket_mode = address(tmp_path, "p").stat().st_mode
        assert stat.S_IMODE(socket_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700


def test_a_home_that_is_too_deep_for_a_socket_still_has_a_bell():
    """The address stays below the 107 bytes that the kernel allows, and two homes differ."""
    deep = Path("/" + "x" * 120)
    assert len(os.fsencode(address(deep, "p"))) < 100
    assert address(deep, "p") != address(deep, "q")
    assert address(deep, "p") != address(Path("/" + "y" * 120), "p")


def test_the_death_of_the_heart_is_noted_and_the_bell_still_works(tmp_path, caplog):
    """A daemon whose heart was killed goes on; the log says that nobody restarts it."""
    heart = subprocess.Popen(["sleep", "1000"])
    rung = threading.Event()
    try:
        with Doorbell(tmp_path, "p", rung.set, heart.pid) as bell:
            heart.send_signal(signal.SIGKILL)
            assert bell.heart_is_gone.wait(10)
            ring(tmp_path, "p")
            assert rung.wait(10)
        assert "nobody restarts" in caplog.text
    finally:
        heart.kill()
        heart.wait()


def test_a_heart_that_was_gone_before_is_noted_too(tmp_path, caplog):
    """A pid that no longer exists is no error."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    with Doorbell(tmp_path, "p", lambda: None, gone.pid) as bell:
        assert bell.heart_is_gone.is_set()
    assert "nobody restarts" in caplog.text


@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_folder_that_others_can_enter_and_that_holds_something_is_refused(tmp_path, mode):
    """We do not put a bell where somebody else can reach it, and do not change what is theirs."""
    from supervisor.errors import StoreError

    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "theirs").touch()
    folder.chmod(mode)
    with pytest.raises(StoreError):
        Doorbell(tmp_path, "p", lambda: None)
