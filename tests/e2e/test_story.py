"""The program's reason: training exhausts itself, and evaluation and serving never notice."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.harness import PIPELINES, Client, Person, end, eventually, is_alive, leaves

DIGITS = str(PIPELINES / "digits" / "pipeline.yaml")
ROUNDS = "evaluate.rounds=1600"  # a tenth of the evaluation's usual work

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def person(ray_home: pathlib.Path) -> Iterator[Person]:
    """Someone whose pipelines are gone afterwards, whatever the test did."""
    someone = Person(ray_home)
    yield someone
    someone.types("down", "--all")


def report_of(person: Person) -> dict[str, Any]:
    """The figures that `evaluate` published."""
    folder = person.home / "pipelines" / "digits" / "data"
    reports = sorted(folder.rglob("evaluation*.json")) or sorted(folder.rglob("report*.json"))
    assert reports, f"no report under {folder}"
    return dict(json.loads(reports[-1].read_text(encoding="utf-8")))


def port_of_serve(person: Person) -> int:
    """Where `serve` answers."""
    return int(person.segment("digits/serve")["ports"]["http"])


@pytest.fixture(scope="module")
def figures(ray_home: pathlib.Path) -> dict[str, Any]:
    """What evaluation finds when training behaves."""
    person = Person(ray_home)
    done = person.types("launch", DIGITS, "--set", ROUNDS)
    assert done.returncode == 0, done.stderr
    person.waits_for("digits/evaluate", "done")
    found = report_of(person)
    assert person.types("down").returncode == 0
    return found


@pytest.mark.parametrize(
    ("misbehaviour", "ends", "cause"),
    [
        ("train.leak=4GiB", "gave_up", "oom"),
        ("train.crash=bad batch", "gave_up", "error"),
        ("train.spin=8", "running", None),
    ],
)
def test_training_misbehaves_and_nobody_else_notices(
    person: Person, figures: dict[str, Any], misbehaviour: str, ends: str, cause: str | None
) -> None:
    """serve: same process, every request answered; evaluate: same process, same figures."""
    budget = ("--set", "train.restart.max_restarts=1")
    done = person.types("launch", DIGITS, "--set", misbehaviour, "--set", ROUNDS, *budget)
    assert done.returncode in {0, 3, 5}, done.stderr
    serve = person.waits_for("digits/serve", "running")
    with Client(port_of_serve(person)) as client:
        evaluate = person.waits_for("digits/evaluate", "running", "done")
        train = person.waits_for("digits/training/train", ends)
        evaluated = person.waits_for("digits/evaluate", "done")
    assert client.failures == []
    assert client.answered > 50
    assert person.segment("digits/serve")["pid"] == serve["pid"]
    assert evaluated["incarnation"] == evaluate["incarnation"]
    assert report_of(person) == figures
    if cause:
        assert train["last_exit"]["kind"] == cause
        assert person.types("tree").returncode == 5
        told = person.types("why", "train").stdout
        assert cause in told
        assert "psup restart" in told


def test_a_killed_daemon_comes_back_and_adopts(person: Person) -> None:
    """SIGKILL of the daemon: another one within seconds, same bodies, no failed request."""
    assert person.types("launch", DIGITS, "--set", ROUNDS).returncode == 0
    serve = person.waits_for("digits/serve", "running")
    daemon = person.tree("digits")["daemon_pid"]
    with Client(port_of_serve(person)) as client:
        end(daemon)
        eventually(
            lambda: person.tree("digits")["daemon_pid"] not in {None, daemon}, 30, "a new daemon"
        )
        assert person.types("stop", "monitor").returncode == 0
    assert client.failures == []
    assert person.segment("digits/monitor")["state"] == "stopped"
    after = person.segment("digits/serve")
    assert (after["pid"], after["incarnation"]) == (serve["pid"], serve["incarnation"])


def test_a_person_restarts_stops_and_starts(person: Person) -> None:
    """Their words are obeyed at once and no counter is touched."""
    assert person.types("launch", DIGITS, "--set", ROUNDS).returncode == 0
    before = person.waits_for("digits/serve", "running")
    assert person.types("restart", "serve").returncode == 0
    after = person.waits_for("digits/serve", "running", incarnation=before["incarnation"] + 1)
    assert after["pid"] != before["pid"]
    assert after["restarts"] == before["restarts"]
    assert person.types("stop", "serve").returncode == 0
    stopped = person.waits_for("digits/serve", "stopped")
    assert stopped["pid"] is None
    assert not is_alive(after["pid"])
    assert person.types("start", "serve").returncode == 0
    person.waits_for("digits/serve", "running", incarnation=stopped["incarnation"] + 1)


def test_a_body_killed_by_hand_is_back_with_its_cause(person: Person) -> None:
    """The signal is known exactly, and the service runs again."""
    assert person.types("launch", DIGITS, "--set", ROUNDS).returncode == 0
    before = person.waits_for("digits/serve", "running")
    end(before["pid"])
    after = person.waits_for("digits/serve", "running", incarnation=before["incarnation"] + 1)
    assert (after["last_exit"]["kind"], after["last_exit"]["detail"]) == ("signal", "SIGKILL")
    assert after["restarts"]["count"] == before["restarts"]["count"] + 1


def test_launching_what_already_runs_changes_nothing(person: Person) -> None:
    """The second launch says so and every process stays."""
    assert person.types("launch", DIGITS, "--set", ROUNDS).returncode == 0
    before = person.tree("digits")
    again = person.types("launch", DIGITS)
    assert again.returncode == 1
    assert "already" in again.stderr
    assert "Traceback" not in again.stderr
    assert person.tree("digits")["daemon_pid"] == before["daemon_pid"]


def test_of_two_launches_at_once_one_wins(person: Person) -> None:
    """Exactly one daemon owns the pipeline; the other launch says who does."""
    both = [person.starts("launch", DIGITS, "--set", ROUNDS) for _ in range(2)]
    told = [one.communicate(timeout=120) for one in both]
    codes = sorted(one.returncode for one in both)
    assert codes == [0, 1], told
    loser = next(err for one, (_, err) in zip(both, told, strict=True) if one.returncode == 1)
    assert "already" in loser


def test_launching_a_broken_file_says_where(person: Person, tmp_path: pathlib.Path) -> None:
    """A located error, exit code 2, and nothing was started."""
    file = tmp_path / "broken.yaml"
    file.write_text("pipeline: broken\nchildren:\n  a: {runn: 'x:y'}\n", encoding="utf-8")
    done = person.types("launch", str(file))
    assert done.returncode == 2
    assert "broken.yaml:3:" in done.stderr
    assert "run" in done.stderr
    assert "Traceback" not in done.stderr


def test_down_leaves_nothing_behind(person: Person) -> None:
    """No process and no cgroup of the pipeline is left."""
    groups_before = groups_of("digits")
    assert person.types("launch", DIGITS, "--set", ROUNDS).returncode == 0
    person.waits_for("digits/serve", "running")
    assert groups_of("digits") > groups_before
    root = person.tree("digits")
    pids = [leaf["pid"] for leaf in leaves(root) if leaf["pid"]] + [root["daemon_pid"]]
    assert person.types("down").returncode == 0
    eventually(lambda: not any(map(is_alive, pids)), 20, "every process to be gone")
    assert groups_of("digits") <= groups_before
    marked = [
        entry.name
        for entry in pathlib.Path("/proc").iterdir()
        if entry.name.isdigit() and b"PSUP_PIPELINE=digits" in environment_of(entry)
    ]
    assert marked == []


def groups_of(pipeline: str) -> set[str]:
    """Every control group made for a pipeline of this name, in whatever home."""
    return {str(one) for one in pathlib.Path("/sys/fs/cgroup").glob(f"*/**/psup-*/*/{pipeline}")}


def environment_of(entry: pathlib.Path) -> bytes:
    """A process's environment, empty when it is gone."""
    try:
        return (entry / "environ").read_bytes()
    except OSError:
        return b""
