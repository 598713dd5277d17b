"""start, stop, restart and down, against a real daemon over bodies that only pretend."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from cli_world import ROOT, World, digits

pytestmark = pytest.mark.slow


def test_restart_waits_until_the_new_life_runs(stage):
    """The command ends when there is a fresh life, and names it on stdout."""
    before = stage.psup("show", "serve", "--json").stdout
    result = stage.psup("restart", "serve")
    assert result.returncode == 0
    assert result.stdout == "puppets/serve is running (life 2, pid 100000002)\n"
    assert '"incarnation": 1' in before
    assert '"used": 0' in stage.psup("show", "serve", "--json").stdout


def test_stop_waits_out_the_grace_period_and_start_takes_it_back(stage):
    """The progress line says until when; the stop is sticky until start."""
    stopped = stage.psup("stop", "stubborn")
    assert stopped.returncode == 0
    assert "killed in" in stopped.stderr
    assert stopped.stdout == "puppets/stubborn is stopped and stays down until psup start\n"
    assert "stop requested → until psup start" in stage.psup("tree", "stubborn").stdout
    started = stage.psup("start", "stubborn")
    assert (started.returncode, started.stdout) == (
        0,
        "puppets/stubborn is running (life 2, pid 100000002)\n",
    )


def test_a_refusal_is_exit_code_1_with_the_daemons_words(stage):
    """What the daemon declined is said, and changed nothing."""
    result = stage.psup("start", "left")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "refused: puppets/pair/left is already running" in result.stderr


def test_one_refusal_does_not_keep_the_other_targets_from_it(stage):
    """Every target is asked for; the exit code says that one was refused."""
    assert stage.psup("stop", "left").returncode == 0
    result = stage.psup("start", "left", "right")
    assert result.returncode == 1
    assert "puppets/pair/left is running" in result.stdout
    assert "puppets/pair/right was refused" in result.stderr.replace("start ", "")


def test_a_restart_that_fails_again_says_how_and_when_next(stage):
    """Backoff is exit code 3, giving up is 5; both with the cause."""
    flaky = stage.psup("restart", "flaky")
    assert flaky.returncode == 3
    assert "puppets/flaky has ended: exit(3) → again in 9m" in flaky.stdout
    broken = stage.psup("restart", "broken")
    assert broken.returncode == 5
    assert "has given up: exit(3) → stays down: no restart allowed" in broken.stdout


def test_a_task_that_completes_is_an_outcome(stage):
    """A task may be over before anybody looks."""
    result = stage.psup("restart", "finisher")
    assert (result.returncode, result.stdout) == (0, "puppets/finisher has completed\n")


def test_start_of_what_must_wait_says_for_what(stage):
    """`after` is not overruled by a person."""
    assert stage.psup("stop", "later").returncode == 0
    result = stage.psup("start", "later")
    assert result.returncode == 0
    assert result.stdout == "puppets/later is waiting: it waits for slow\n"


def test_a_supervisor_is_restarted_with_all_below(stage):
    """The outcome is that of the branch."""
    result = stage.psup("restart", "pair")
    assert (result.returncode, result.stdout) == (0, "puppets/pair is up, with everything below\n")


def test_waiting_ends_after_the_timeout_and_the_request_goes_on(stage):
    """--timeout is exit code 6 and calls nothing off."""
    result = stage.psup("restart", "slow", "--timeout", "300ms")
    assert result.returncode == 6
    assert "has not come about within 0.3s" in result.stderr
    assert "it goes on" in result.stderr


def test_no_wait_returns_with_the_answer(stage):
    """--no-wait prints no outcome."""
    result = stage.psup("restart", "serve", "--no-wait")
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr == "psup: puppets/serve: restarting\n"


def test_a_pipeline_is_not_stopped_but_taken_down(stage):
    """`stop` of the whole is answered with the right command."""
    result = stage.psup("stop", "puppets")
    assert result.returncode == 2
    assert "psup down puppets" in result.stderr


def test_ctrl_c_ends_the_wait_only(stage):
    """Exit code 130, no traceback, and the word that it goes on."""
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "restart", "slow"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(stage.home)},
    ) as waiting:
        assert waiting.stderr is not None
        first = waiting.stderr.readline() + waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        rest = waiting.stderr.read()
    assert "puppets/slow" in first
    assert waiting.returncode == 130
    assert "what was asked for goes on" in rest
    assert "Traceback" not in rest


def test_a_terminal_gets_one_line_that_is_drawn_over(stage):
    """On a terminal, progress overwrites itself and leaves nothing behind."""
    stage.psup("start", "stubborn")
    main, side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "restart", "stubborn"],
        stdout=subprocess.PIPE,
        stderr=side,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(stage.home), "TERM": "xterm"},
    ) as waiting:
        os.close(side)
        drawn = b""
        try:
            while chunk := os.read(main, 4096):
                drawn += chunk
        except OSError:  # the other side of a terminal closed
            pass
        assert waiting.stdout is not None
        outcome = waiting.stdout.read().decode()
    os.close(main)
    assert "is running" in outcome
    assert b"\r\x1b[Kstubborn: stopping, restart requested, killed in" in drawn
    assert drawn.endswith(b"\r\x1b[K")


def test_down_waits_until_no_process_is_left(own_stage):
    """The daemon itself is gone when the command ends; a second time it is down already."""
    result = own_stage.psup("down")
    assert result.returncode == 0
    assert "waits for" in result.stderr
    assert result.stdout == "puppets is down\n"
    assert own_stage.process.poll() == 0
    again = own_stage.psup("down", "puppets")
    assert (again.returncode, again.stdout) == (0, "")
    assert "is down already" in again.stderr
    assert own_stage.psup("restart", "serve").returncode == 7


def test_a_dead_daemon_is_exit_code_7_with_what_to_type(own_stage):
    """Nobody answers: the command says so at once instead of waiting."""
    own_stage.end()
    # The puppet calls itself its own parent, so nobody would start it again.
    for verb in ("restart", "start", "stop"):
        result = own_stage.psup(verb, "serve")
        assert result.returncode == 7
        assert "psup launch puppets.yaml" in result.stderr
    assert own_stage.psup("down").returncode == 7


def test_a_daemon_that_dies_during_the_wait_is_noticed(own_stage):
    """Waiting for what nobody will do ends with exit code 7."""
    with subprocess.Popen(
        [sys.executable, "-m", "supervisor", "restart", "slow"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(own_stage.home)},
    ) as waiting:
        assert waiting.stderr is not None
        waiting.stderr.readline()
        waiting.stderr.readline()
        own_stage.end()
        rest = waiting.stderr.read()
    assert waiting.returncode == 7
    assert "the daemon of puppets is gone" in rest


def test_down_asks_which_of_several(tmp_path):
    """Two pipelines that are up: none is guessed."""
    world: World = digits(tmp_path / "home")
    from cli_world import SupervisorSpec

    world.launch(SupervisorSpec("other"))
    result = world.run("down")
    assert result.exit_code == 2
    assert "digits and other are up" in result.output
    world.close()


def test_unknown_targets_are_exit_code_4(stage):
    """No request is written for a name that means nothing."""
    result = stage.psup("restart", "sreve")
    assert result.returncode == 4
    assert "did you mean serve?" in result.stderr


def test_restart_may_give_the_next_life_something(stage):
    """A quota and a variable for one life; the life after it has what is declared."""
    given = stage.psup("restart", "serve", "--set", "memory=3GiB", "--set", "env.BATCH=64")
    assert given.returncode == 0
    assert "memory 3.0G and BATCH as asked for" in stage.psup("show", "serve").stdout
    assert stage.psup("restart", "serve").returncode == 0
    assert "as asked for" not in stage.psup("show", "serve").stdout


@pytest.mark.parametrize(
    ("setting", "said"),
    [("memroy=3GiB", "did you mean `memory`?"), ("memory=3", "did you mean `3GiB`?")],
)
def test_wrong_settings_are_refused_before_anything_is_asked(stage, setting, said):
    """A usage error, with what was probably meant; the life that runs goes on."""
    before = json.loads(stage.psup("show", "serve", "--json").stdout)["nodes"][0]["node"]
    result = stage.psup("restart", "serve", "--set", setting)
    assert result.returncode == 2
    assert said in result.stderr
    after = json.loads(stage.psup("show", "serve", "--json").stdout)["nodes"][0]["node"]
    assert (after["incarnation"], after["pid"]) == (before["incarnation"], before["pid"])


def test_supervisors_are_given_nothing(stage):
    """The daemon refuses, and says whom to name."""
    result = stage.psup("restart", "pair", "--set", "memory=3GiB")
    assert result.returncode == 1
    assert "refused: puppets/pair is no segment; name the one you mean" in result.stderr
