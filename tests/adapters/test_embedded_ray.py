"""The embedded Ray of a home: one, shared, found again, and never confused with another.

Every test here starts real ones, in homes of their own.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from supervisor.adapters.embedded_ray import EmbeddedRay
from supervisor.errors import BackendUnavailable
from supervisor.runtime.process_session import Member

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

Open = Callable[..., EmbeddedRay]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.fixture
def ray_of(home: Path) -> Iterator[Open]:
    """Opens the home's Ray for a user; whatever was started is stopped in the end."""

    def open_for(user: str = "digits", holders: tuple[int, ...] = ()) -> EmbeddedRay:
        return EmbeddedRay(home / "ray", user, holders)

    yield open_for
    open_for().stop()
    assert open_for().members() == []


def nobody(_reason: str) -> None:
    """Hear of a death that a test has caused."""


def test_there_is_one_for_all_users_until_the_last_has_left(ray_of: Open, home: Path):
    """Pipelines of a home share a Ray; it goes with the last of them, and leaves nothing."""
    digits, scripts = ray_of("digits"), ray_of("scripts")
    address = digits.join(nobody)
    assert address.startswith("127.0.0.1:")
    assert scripts.join(nobody) == address
    assert digits.users() == ["digits", "scripts"]
    digits.leave()
    assert scripts.find() is not None
    members = scripts.members()
    scripts.leave()
    assert scripts.find() is None
    assert not [member for member in members if member.is_alive()]
    left = {file.name for file in (home / "ray").iterdir()}
    assert left == {"lock", "start.log", "token", "users"}


def test_it_listens_to_this_machine_only_and_keeps_its_token_to_itself(ray_of: Open, home: Path):
    """Nobody else can reach it, and no other user of this machine can read how to be let in."""
    ray = ray_of()
    ray.join(nobody)
    assert {address for member in ray.members() for address in listens_at(member)} <= {
        "127.0.0.1",
        "::ffff:127.0.0.1",
    }
    assert stat.S_IMODE((home / "ray" / "token").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "ray").stat().st_mode) == 0o700


def test_its_death_is_told_and_the_next_join_starts_another(ray_of: Open):
    """Whoever joined hears at once when a main process ends; what is left of it is cleared away."""
    ray, deaths = ray_of(), queue.SimpleQueue[str]()
    first = ray.join(deaths.put)
    before = ray.members()
    session = ray.find()
    assert session is not None
    os.kill(session.raylet.pid, signal.SIGKILL)
    assert deaths.get(timeout=10) == "Ray's raylet process ended"
    assert ray.find() is None
    assert ray.join(deaths.put) != first
    assert not [member for member in before if member.is_alive()]
    ray.leave()
    assert deaths.empty()  # a Ray that we stop has not died


def test_two_that_start_at_once_get_the_same(home: Path, ray_of: Open):
    """The second daemon waits for the first one's start instead of starting another."""
    joiner = (
        "import sys; from pathlib import Path;"
        "from supervisor.adapters.embedded_ray import EmbeddedRay;"
        f"ray = EmbeddedRay(Path({str(home / 'ray')!r}), sys.argv[1]);"
        "print(ray.join(print), flush=True); sys.stdin.read()"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", joiner, user],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for user in ("digits", "scripts")
    ]
    addresses = {process.stdout.readline() for process in both}
    assert len(addresses) == 1
    assert ray_of().users() == ["digits", "scripts"]
    for process in both:
        process.communicate()
    assert ray_of().users() == []  # gone without a word, and so not users any more


def test_a_half_started_one_is_cleared_away(home: Path, ray_of: Open):
    """A daemon killed in the middle of starting Ray leaves processes that the next one finds."""
    starter = (
        "from pathlib import Path; from supervisor.adapters.embedded_ray import EmbeddedRay;"
        f"EmbeddedRay(Path({str(home / 'ray')!r}), 'digits').join(print)"
    )
    dying = subprocess.Popen([sys.executable, "-c", starter])
    ray = ray_of()
    while not (early := ray.members()):
        assert dying.poll() is None
    dying.kill()
    dying.wait()
    assert ray.find() is None
    ray.join(nobody)
    alive = {member for member in early if member.is_alive()}
    assert alive <= set(ray.members())
    assert not alive


def test_another_ray_is_left_alone(tmp_path_factory: pytest.TempPathFactory, ray_of: Open):
    """To stop one home's Ray touches no process of another's."""
    other_home = tmp_path_factory.mktemp("other")
    other_home.chmod(0o700)
    other = EmbeddedRay(other_home / "ray", "digits")
    mine = ray_of()
    try:
        other.join(nobody)
        mine.join(nobody)
        mine.leave()
        assert mine.members() == []
        assert other.find() is not None
    finally:
        other.stop()


def test_a_reused_session_number_is_not_taken_for_it(home: Path, ray_of: Open):
    """A stranger that got the number of a dead session is no member of it."""
    ray = ray_of()
    ray.join(nobody)
    ray.stop()
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True, cwd="/")
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        (home / "ray" / "sid").write_text(f"{boot} {stranger.pid}\n")
        assert ray.members() == []
        ray.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_parent_that_restarts_its_daemon_keeps_it(ray_of: Open):
    """While the heart lives, the pipeline counts as a user, though its daemon is dead."""
    daemon = subprocess.Popen(["sleep", "1000"])
    heart = subprocess.Popen(["sleep", "1000"])
    try:
        ray_of("digits", (daemon.pid, heart.pid)).join(nobody)
        other = ray_of("scripts")
        other.join(nobody)
        daemon.kill()
        daemon.wait()
        other.leave()
        assert other.find() is not None
        assert other.users() == ["digits"]
    finally:
        heart.kill()
        heart.wait()
    assert ray_of().users() == []


def test_a_long_home_gets_a_short_folder_for_sockets(tmp_path: Path):
    """Socket paths end at 107 bytes; a home may be longer."""
    long = tmp_path / ("x" * 60)
    assert not EmbeddedRay(long / "ray", "digits").temp.is_relative_to(long)
    assert EmbeddedRay(Path("/home/ann/.psup/ray"), "digits").temp == Path("/home/ann/.psup/ray/t")


def test_a_ray_that_cannot_start_says_why(home: Path, ray_of: Open, monkeypatch):
    """The last words of `ray start` are in the error, and nothing of it stays."""
    monkeypatch.setenv("PYTHONPATH", str(broken_ray(home)))
    with pytest.raises(BackendUnavailable, match="no Ray today") as failure:
        ray_of().join(nobody)
    assert "start.log" in failure.value.hint
    assert ray_of().members() == []
    assert not (home / "ray" / "session.json").exists()


def test_records_that_were_cut_short_are_no_records(home: Path, ray_of: Open):
    """A file half written by a daemon that was killed does not keep the next one from starting."""
    folder = home / "ray"
    (folder / "users").mkdir(parents=True)
    folder.chmod(0o700)
    for name in ("session.json", "users/digits.json", "sid"):
        (folder / name).write_text('{"addr')
    ray = ray_of("scripts")
    assert ray.find() is None
    ray.join(nobody)
    assert ray.users() == ["scripts"]
    assert json.loads((folder / "session.json").read_text())["address"].startswith("127.0.0.1:")


def broken_ray(folder: Path) -> Path:
    """A package `ray` that fails on import."""
    package = folder / "broken" / "ray"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('no Ray today')")
    return package.parent


def listens_at(member: Member) -> set[str]:
    """The addresses on which a process listens for TCP connections."""
    import psutil

    connections = psutil.Process(member.pid).net_connections("tcp")
    return {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
