"""The output of segments: past and coming, one and many, over rotation and restarts."""

import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_world import ROOT

from supervisor.cli.log_files import Tail, complete_bytes, last_lines
from supervisor.core import state


@pytest.fixture
def log(tmp_path):
    return tmp_path / "1.log"


def give_log(world, path, incarnation, text, **facts):
    """Give a life a log file with that text."""
    file = Path(world.home) / f"{path.replace('/', '.')}-{incarnation}.log"
    file.write_text(text)
    world.life(path, incarnation, log=str(file), **facts)
    return file


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("most", [0, 1, 2, 5, None])
def test_the_last_lines_are_those_of_the_whole_text(log, most):
    """Reading backwards in blocks gives what splitting the whole file gives."""
    lines = [f"line {number} {'x' * (number % 700)}" for number in range(2000)]
    log.write_text("\n".join(lines) + "\n")
    wanted = lines if most is None else lines[len(lines) - most :]
    assert last_lines(log, most) == wanted


def test_a_line_without_its_end_is_a_line(log):
    """What a body that died in the middle of a line wrote is shown."""
    log.write_text("one\ntwo")
    assert last_lines(log, 5) == ["one", "two"]


def test_a_rotated_log_goes_on_in_the_older_file(log):
    """Lines that were moved aside are found before those of the file itself."""
    log.with_name("1.log.1").write_text("a\nb\n")
    log.write_text("c\n")
    assert last_lines(log, 2) == ["b", "c"]
    assert last_lines(log, None) == ["a", "b", "c"]


def test_a_log_that_is_not_there_is_empty(log):
    """Nobody wrote, or somebody removed it: no lines, no error."""
    assert last_lines(log, 3) == []
    assert complete_bytes(log) == 0
    assert Tail(log).new_lines() == []


def test_bytes_that_are_no_text_are_shown_as_such(log):
    """Binary output never ends the reading."""
    log.write_bytes(b"ok\n\xff\xfe\n")
    assert last_lines(log, 2) == ["ok", "\ufffd\ufffd"]


def test_a_tail_gives_complete_lines_once(log):
    """Half a line waits for its end; the end of a life completes it."""
    tail = Tail(log)
    log.write_text("one\ntw")
    assert tail.new_lines() == ["one"]
    with log.open("a") as file:
        file.write("o\nthr")
    assert tail.new_lines() == ["two"]
    assert tail.new_lines() == []
    assert tail.new_lines(ended=True) == ["thr"]
    assert tail.new_lines(ended=True) == []


def test_a_tail_goes_on_after_the_file_was_truncated(log):
    """Rotation truncates in place; what comes after it is new."""
    log.write_text("a long first line\n")
    tail = Tail(log)
    assert tail.new_lines() == ["a long first line"]
    log.write_text("new\n")
    assert tail.new_lines() == ["new"]


def test_following_begins_where_the_past_ended(log):
    """A half-written last line belongs to what comes, not to what was."""
    log.write_text("one\ntwo\nhal")
    end = complete_bytes(log)
    assert last_lines(log, 5, until=end) == ["one", "two"]
    with log.open("a") as file:
        file.write("f\n")
    assert Tail(log, at=end).new_lines() == ["half"]


# ---------------------------------------------------------------------------------------- command


def test_one_segment_has_no_prefix(world):
    """The output of one segment is the file, byte for byte as far as it is text."""
    give_log(world, "digits/serve", 1, "a\nb\nc\n")
    assert world.run("logs", "serve").stdout == "a\nb\nc\n"
    assert world.run("logs", "serve", "-n", "1").stdout == "c\n"
    assert world.run("logs", "serve", "-n", "0").stdout == ""


def test_several_segments_have_prefixes_in_one_column(world):
    """Each line says whose it is; segments that never ran are told on stderr."""
    give_log(world, "digits/serve", 1, "s\n")
    give_log(world, "digits/evaluate", 1, "e\n")
    give_log(world, "digits/training/train", 3, "t\n")
    result = world.run("logs", "serve", "evaluate", "training", "ingest")
    assert result.stdout == "train    | t\nevaluate | e\nserve    | s\n"
    assert result.stderr == "psup: digits/data/ingest has not run yet\n"
    painted = world.run("logs", "serve", "evaluate", env={"FORCE_COLOR": "1"}).stdout
    assert "\x1b[36mevaluate |\x1b[0m e" in painted


def test_previous_is_the_latest_life_that_ended(world):
    """Also while the next one is still waited for."""
    train = "digits/training/train"
    give_log(world, train, 2, "second\n")
    give_log(world, train, 3, "third\n")
    assert world.run("logs", "train", "--previous").stdout == "third\n"
    world.put(train, state.SegmentState(state.Running(world.now_s), 4))
    give_log(world, train, 4, "fourth\n", started_s=world.now_s)
    assert world.run("logs", "train", "--previous").stdout == "third\n"
    assert world.run("logs", "train").stdout == "fourth\n"
    assert world.run("logs", "train", "--life", "2").stdout == "second\n"


def test_no_such_output_is_exit_code_4(world):
    """A segment that has none is an error when nothing else was asked for."""
    result = world.run("logs", "serve", "--previous")
    assert result.exit_code == 4
    assert "digits/serve has had no life that ended" in result.stderr
    assert world.run("logs", "serve", "--life", "9").exit_code == 4


@pytest.mark.parametrize("args", [("-n", "-3"), ("-n", "few"), ("-f", "--previous")])
def test_wrong_options_are_exit_code_2(world, args):
    """Nothing is guessed about a number."""
    assert world.run("logs", "serve", *args).exit_code == 2


@pytest.mark.slow
def test_follow_goes_over_a_restart(world):
    """The old life's last words, then the new life's first, in order, from several segments."""
    train = "digits/training/train"
    old = give_log(world, train, 3, "before\nhal")
    serve = give_log(world, "digits/serve", 1, "hello\n")
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "logs", "-f", "train", "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(world.home)},
    ) as psup:
        assert psup.stdout is not None
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(
            target=lambda out: [lines.put(line) for line in out], args=(psup.stdout,)
        )
        reader.start()
        assert {lines.get(timeout=20), lines.get(timeout=20)} == {
            "train | before\n",
            "serve | hello\n",
        }
        with serve.open("a") as file:
            file.write("again\n")
        assert lines.get(timeout=20) == "serve | again\n"
        with old.open("a") as file:
            file.write("f, and dead")
        give_log(world, train, 4, "risen\n", started_s=world.now_s)
        assert lines.get(timeout=20) == "train | half, and dead\n"
        assert lines.get(timeout=20) == "train | risen\n"
        psup.terminate()
        reader.join()
