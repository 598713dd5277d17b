"""Real processes on a real Ray: who may die, who must not notice, and what is left of whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(180)]


class Shell:
    """A person with a `$PSUP_HOME` and one pipeline, which is called `@` in these tests.

    Its real name is new for every test: numbers of lives go on over launches of the same name.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        self.home = home
        self.folder = folder
        self.name = f"launch-{uuid.uuid4().hex[:6]}"
        self.environment = {
            **os.environ,
            "PSUP_HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "SECRET": "n0t-on-a-d1sk",
        }

    def real(self, text: str) -> str:
        return text.replace("@", self.name)

    def write(self, children: str) -> str:
        file = self.folder / "pipeline.yaml"
        file.write_text(f"pipeline: {self.name}\nchildren:\n{children}", encoding="utf-8")
        return str(file)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "supervisor", *map(self.real, words)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def root(self) -> dict[str, Any]:
        done = self.run("tree", "@", "--json")
        return json.loads(done.stdout)["pipelines"][0]

    def node(self, path: str) -> dict[str, Any]:
        node = self.root()
        for name in path.split("/")[1:]:
            node = next(child for child in node["children"] if child["name"] == name)
        return node

    def await_node(self, path: str, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        return eventually(lambda: (node := self.node(path)) and is_it(node) and node)

    def await_daemon(self, other_than: int) -> int:
        return eventually(lambda: (pid := self.root()["daemon_pid"]) and pid != other_than and pid)

    def log(self) -> str:
        file = self.home / "pipelines" / self.name / "daemon.log"
        return file.read_text(encoding="utf-8")

    def output(self, path: str, incarnation: int) -> str:
        folder = self.home / "pipelines" / self.name / "segments" / path.partition("/")[2]
        return (folder / "logs" / f"{incarnation}.log").read_text(encoding="utf-8")

    def await_line(self, process: subprocess.Popen[str], part: str) -> None:
        """Read what a command says until it has said that."""
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if self.real(part) in line:
                return
        raise AssertionError(f"never said {part!r}: {said}")


def eventually(question: Callable[[], Any]) -> Any:
    """Ask until the answer is true; the outside world tells us nothing by itself."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        if answer := question():
            return answer
        time.sleep(0.05)
    raise AssertionError("it never came true")


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    return int(stat.rpartition(")")[2].split()[1])


def link(pid: int, name: str) -> str:
    return str(Path(f"/proc/{pid}/{name}").readlink())


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


@pytest.fixture
def shell(ray_home: Path, tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(ray_home, tmp_path)
    yield shell
    if (tmp_path / "pipeline.yaml").exists():
        down = shell.start("down", "@")
        while down.poll() is None:  # patience with bodies is not what is tested here
            if (pid := shell.root()["daemon_pid"]) is not None:
                os.kill(pid, signal.SIGINT)
            time.sleep(0.2)
        down.communicate()


SERVE = "  serve: {kind: service, command: [sleep, '1000']}\n"


def test_a_killed_daemon_is_replaced_and_no_body_notices(shell):
    """SIGKILL, twice: a new daemon each time, the same body, and requests are obeyed again."""
    assert shell.run("launch", shell.write(SERVE)).returncode == 0
    before = shell.node("@/serve")
    daemon = shell.root()["daemon_pid"]
    for _ in range(2):
        os.kill(daemon, signal.SIGKILL)
        daemon = shell.await_daemon(daemon)
    after = shell.node("@/serve")
    assert (after["pid"], after["incarnation"]) == (before["pid"], 1)
    assert is_alive(before["pid"])
    assert shell.run("stop", "@/serve").returncode == 0
    assert not is_alive(before["pid"])


def test_a_daemon_killed_while_a_body_is_starting_starts_no_second_one(shell):
    """The order to start is given again, and changes nothing: the body that is there becomes it."""
    flag = shell.folder / "flag"
    slow = (
        "  serve:\n    kind: service\n    command: [sh, -c, 'echo born; exec sleep 1000']\n"
        f"    ready: {{exec: [test, -e, {flag}], period: 200ms}}\n"
    )
    launch = shell.start("launch", shell.write(slow))
    eventually(lambda: shell.name in shell.run("tree", "-a").stdout)
    body = shell.await_node("@/serve", lambda node: node["pid"])["pid"]
    os.kill(daemon := shell.root()["daemon_pid"], signal.SIGKILL)
    shell.await_daemon(daemon)
    flag.touch()
    _, said = launch.communicate(timeout=PATIENCE_S)
    assert launch.returncode == 0, said  # it followed the next daemon as well
    ready = shell.await_node("@/serve", lambda node: node["state"] == "running")
    assert (ready["pid"], ready["incarnation"]) == (body, 1)
    assert shell.output("@/serve", 1).count("born") == 1


def test_a_task_that_ends_while_no_daemon_is_there_is_heard_of(shell):
    """Its cell keeps the result until somebody has saved it."""
    flag = shell.folder / "flag"
    never = "    restart: temporary\n"
    task = (
        f"  task:\n    command: [sh, -c, 'while ! test -e {flag}; do sleep 0.05; done; exit 7']\n"
    )
    assert shell.run("launch", shell.write(task + never)).returncode == 0
    node, daemon = shell.node("@/task"), shell.root()["daemon_pid"]
    heart = parent_of(daemon)
    os.kill(heart, signal.SIGSTOP)  # nobody restarts the daemon for a while
    os.kill(daemon, signal.SIGKILL)
    flag.touch()
    eventually(lambda: not is_alive(node["pid"]))
    os.kill(heart, signal.SIGCONT)
    ended = shell.await_node("@/task", lambda node: node["state"] == "failed")
    assert (ended["last_exit"]["text"], ended["incarnation"]) == ("exit(7)", 1)


def test_secrets_outlive_a_daemon_but_never_touch_a_disk(shell):
    """A body started by the second daemon has what the terminal had; no file below home has it."""
    chatty = (
        "  serve:\n    kind: service\n"
        "    command: [sh, -c, 'echo $${#SECRET} characters; exec sleep 1000']\n"
    )
    assert shell.run("launch", shell.write(chatty)).returncode == 0
    daemon = shell.root()["daemon_pid"]
    os.kill(daemon, signal.SIGKILL)
    shell.await_daemon(daemon)
    assert shell.run("restart", "@/serve").returncode == 0
    shell.await_node("@/serve", lambda n: n["incarnation"] == 2 and n["state"] == "running")
    eventually(lambda: "13 characters" in shell.output("@/serve", 2))
    for file in shell.home.rglob("*"):
        if file.is_file() and file.parent.name != "logs":
            assert b"n0t-on-a-d1sk" not in file.read_bytes(), file


def test_a_killed_heart_changes_nothing_but_a_line_in_the_log(shell):
    """The daemon goes on, obeys, and goes down as ever."""
    assert shell.run("launch", shell.write(SERVE)).returncode == 0
    before, daemon = shell.node("@/serve"), shell.root()["daemon_pid"]
    os.kill(parent_of(daemon), signal.SIGKILL)
    eventually(
        lambda: "nobody restarts this daemon" in shell.log() or "heart is gone" in shell.log()
    )
    assert shell.root()["daemon_pid"] == daemon
    assert shell.node("@/serve")["pid"] == before["pid"]
    assert shell.run("down", "@").returncode == 0
    assert not is_alive(before["pid"])
    eventually(lambda: not is_alive(daemon))


def test_a_launch_takes_over_what_a_killed_heart_and_daemon_left(shell):
    """Nobody looks after the body any more; launched again, it is adopted, not ended."""
    file = shell.write(SERVE)
    assert shell.run("launch", file).returncode == 0
    before, daemon = shell.node("@/serve"), shell.root()["daemon_pid"]
    os.kill(parent_of(daemon), signal.SIGKILL)
    os.kill(daemon, signal.SIGKILL)
    assert shell.run("tree", "@").returncode == 3
    assert shell.run("launch", file).returncode == 0
    after = shell.node("@/serve")
    assert (after["pid"], after["incarnation"]) == (before["pid"], 1)


def test_the_background_keeps_nothing_of_the_terminal(shell):
    """Own session, folder /, no descriptor but its own; and they can be told apart in ps."""
    assert shell.run("launch", shell.write(SERVE)).returncode == 0
    daemon = shell.root()["daemon_pid"]
    heart = parent_of(daemon)
    assert os.getsid(heart) == heart
    assert link(heart, "cwd") == link(daemon, "cwd") == "/"
    names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in (heart, daemon)]
    assert names == ["psup-heart", "psup-daemon"]
    opened = {link(heart, f"fd/{file.name}") for file in Path(f"/proc/{heart}/fd").iterdir()}
    assert opened <= {
        "/dev/null",
        str(shell.home / "pipelines" / shell.name / "daemon.log"),
        "/memfd:psup-parcel (deleted)",
        *(target for target in opened if target.startswith("pipe:")),
    }
    assert shell.run("down", "@").returncode == 0
    eventually(lambda: not is_alive(heart))


def test_of_two_launches_at_once_exactly_one_wins_and_a_third_is_told_who(shell):
    """Exit code 1, the daemon's pid, what to type; and the body never notices."""
    file = shell.write(SERVE)
    both = [shell.start("launch", file) for _ in range(2)]
    told = [one.communicate(timeout=PATIENCE_S)[1] for one in both]
    assert sorted(one.returncode for one in both) == [0, 1], told
    loser = next(err for one, err in zip(both, told, strict=True) if one.returncode)
    before = shell.root()
    third = shell.run("launch", file)
    assert third.returncode == 1
    for said in (loser, third.stderr):
        assert "already running" in said
        assert str(before["daemon_pid"]) in said
        assert shell.real("psup down @") in said
        assert "Traceback" not in said
    assert shell.root()["children"][0]["pid"] == before["children"][0]["pid"]
    assert shell.node("@/serve")["incarnation"] == 1


@pytest.mark.parametrize(
    ("children", "code"),
    [
        ("  a: {command: ['true']}\n  b: {command: ['true'], after: [a]}\n", 0),
        (
            "  a: {command: ['false'], restart: temporary}\n  b: {command: ['true'], after: [a]}\n",
            3,
        ),
        ("  a: {command: ['false'], restart: {max_restarts: 0}}\n", 5),
    ],
)
def test_waiting_ends_with_the_tasks_and_says_how_they_ended(shell, children, code):
    """0: all completed; 3: one failed, and who waits for it waits for ever; 5: one gave up."""
    done = shell.run("launch", shell.write(children), "--wait")
    assert done.returncode == code, done.stderr
    assert shell.root()["daemon_pid"]


def test_a_launch_that_takes_too_long_goes_on_without_its_terminal(shell):
    """Exit code 6, and the daemon still tries."""
    never = "  serve: {kind: service, command: [sleep, '1000'], ready: {exec: ['false']}}\n"
    done = shell.run("launch", shell.write(never), "--timeout", "4s")
    assert done.returncode == 6, done.stderr
    assert shell.node("@/serve")["state"] == "starting"


def test_ctrl_c_in_the_foreground_drains(shell):
    """The command ends with 0 when everything is down."""
    launch = shell.start("launch", shell.write(SERVE), "--foreground")
    shell.await_line(launch, "@/serve  running")
    body = shell.node("@/serve")["pid"]
    launch.send_signal(signal.SIGINT)
    _, err = launch.communicate(timeout=PATIENCE_S)
    assert launch.returncode == 0, err
    assert "Traceback" not in err
    assert not is_alive(body)


def test_a_second_ctrl_c_kills(shell):
    """A body that does not want to go within its 10 minutes of grace is gone at once."""
    deaf = (
        "  serve:\n    kind: service\n    shutdown: {grace: 10m}\n"
        "    command: [sh, -c, 'trap \"\" TERM; echo deaf; while :; do sleep 1; done']\n"
    )
    launch = shell.start("launch", shell.write(deaf), "--foreground")
    shell.await_line(launch, "@/serve  running")
    eventually(lambda: "deaf" in shell.output("@/serve", 1))
    body = shell.node("@/serve")["pid"]
    launch.send_signal(signal.SIGINT)
    shell.await_line(launch, "@/serve  stopping")
    launch.send_signal(signal.SIGINT)
    assert launch.wait(PATIENCE_S) == 0
    launch.communicate()
    assert not is_alive(body)


def test_a_foreground_launch_that_is_killed_takes_its_pipeline_down(shell):
    """Whatever ends the launcher (here SIGKILL), nothing goes on behind its back."""
    launch = shell.start("launch", shell.write(SERVE), "--foreground")
    shell.await_line(launch, "@/serve  running")
    body = shell.node("@/serve")["pid"]
    launch.kill()
    launch.communicate()
    eventually(lambda: not is_alive(body))
    eventually(lambda: shell.root()["daemon_pid"] is None)
    assert shell.root()["pipeline_state"] == "down"


def test_a_foreground_pipeline_that_fails_ends_with_five(shell):
    """For containers: when a coupled pipeline has given up, so has the command."""
    failing = (
        "  a: {command: ['false']}\nstrategy: one_for_all\nmax_restarts: 0\nmax_seconds: 60s\n"
    )
    done = shell.run("launch", shell.write(failing), "--foreground")
    assert done.returncode == 5, done.stderr
