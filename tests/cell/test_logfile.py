"""The log stays below its size, keeps the newest part, and its tail is readable."""

from __future__ import annotations

import math
import os
from pathlib import Path

from supervisor.cell.logfile import LogFile


def write(log: LogFile, text: bytes) -> None:
    fd = log.open_for_append()
    os.write(fd, text)
    os.close(fd)


def test_rotation_keeps_the_newest_bytes(tmp_path: Path) -> None:
    """What is over the size goes, oldest first; the file goes on from nothing."""
    log = LogFile(str(tmp_path / "sub" / "1.log"), limit_bytes=100)
    write(log, b"a" * 70 + b"b" * 50)
    log.rotate_if_full(1.0)
    assert log.path.read_bytes() == b""
    assert (tmp_path / "sub" / "1.log.1").read_bytes() == b"b" * 50
    write(log, b"next")
    assert log.path.read_bytes() == b"next"


def test_a_body_that_holds_the_file_writes_on_after_rotation(tmp_path: Path) -> None:
    """Truncated in place: an open descriptor goes on at the new end."""
    log = LogFile(str(tmp_path / "1.log"), limit_bytes=20)
    fd = log.open_for_append()
    os.write(fd, b"x" * 30)
    log.rotate_if_full(1.0)
    os.write(fd, b"after")
    os.close(fd)
    assert log.path.read_bytes() == b"after"


def test_a_small_log_is_left_alone(tmp_path: Path) -> None:
    """Nothing is cut before the share is used up."""
    log = LogFile(str(tmp_path / "1.log"), limit_bytes=100)
    write(log, b"x" * 50)
    log.rotate_if_full(1.0)
    assert log.path.read_bytes() == b"x" * 50


def test_it_tells_when_the_log_will_be_full(tmp_path: Path) -> None:
    """A quickly growing log is looked at again before it can overflow far."""
    log = LogFile(str(tmp_path / "1.log"), limit_bytes=200)
    assert log.rotate_if_full(0.0) == math.inf, "no file yet"
    write(log, b"x" * 10)
    log.rotate_if_full(1.0)
    write(log, b"x" * 30)
    assert log.rotate_if_full(2.0) == (100 - 40) / 30
    assert log.rotate_if_full(3.0) == math.inf


def test_last_lines_reach_back_over_a_rotation(tmp_path: Path) -> None:
    """The newest lines are shown even when the file was just cut."""
    log = LogFile(str(tmp_path / "1.log"), limit_bytes=40)
    write(log, b"".join(b"line %d\n" % n for n in range(5)))
    log.rotate_if_full(1.0)
    write(log, b"the end \xff\n")
    assert log.last_lines(3) == ["line 3", "line 4", "the end �"]


def test_a_missing_log_has_no_last_lines(tmp_path: Path) -> None:
    """A life that never wrote shows nothing."""
    assert LogFile(str(tmp_path / "none.log"), None).last_lines() == []
