"""`psup doctor`: each finding says what was found and what to do; the exit code sums them up."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from cli_world import finished_process
from click.testing import CliRunner

from supervisor.adapters.embedded_ray import EmbeddedRay
from supervisor.adapters.sqlite_store import open_store
from supervisor.cli import checkup
from supervisor.cli.checkup import FIX, GIB, LOOK, MIB, OK, Finding
from supervisor.cli.home import Home
from supervisor.cli.main import psup
from supervisor.daemon.wakeup import address
from supervisor.errors import EXIT_ERROR, EXIT_OK
from supervisor.runtime.ports import Owner
from supervisor.runtime.process_identity import boot_id


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def run(home: Home, *arguments: str):
    return CliRunner().invoke(psup, ["doctor", *arguments], env={"PSUP_HOME": str(home.root)})


def subjects(findings, verdict) -> list[str]:
    return [finding.subject for finding in findings if finding.verdict == verdict]


def launched(home: Home, owner: Owner) -> None:
    """A pipeline `digits` that this owner runs, or ran."""
    home.prepare()
    store = open_store(home.root, "digits", is_alive=lambda _owner: False)
    store.claim(owner)
    store.create([], {"file": "/there/pipeline.yaml"}, 0.0)
    store.close()


def dead_owner() -> Owner:
    pid = finished_process()
    return Owner(pid=pid, started_ticks=1, boot_id=boot_id(), token="t", parent_pid=pid)


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (checkup.import_name(None), OK),
        (checkup.import_name("4.3.0"), FIX),
        (checkup.ray_version("2.60.0"), OK),
        (checkup.ray_version("2.49.1"), FIX),
        (checkup.ray_version(None), FIX),
        (checkup.open_files(20_000), OK),
        (checkup.open_files(-1), OK),
        (checkup.open_files(1024), LOOK),
        (checkup.open_files(256), FIX),
        (checkup.free_memory(2 * GIB), OK),
        (checkup.free_memory(GIB), LOOK),
        (checkup.free_memory(100 * MIB), FIX),
        (checkup.free_disk(3 * GIB, "disk"), OK),
        (checkup.free_disk(GIB, "disk"), LOOK),
        (checkup.free_disk(10 * MIB, "disk"), FIX),
        (checkup.shared_memory(GIB), OK),
        (checkup.shared_memory(64 * MIB), LOOK),
    ],
)
def test_each_ill_has_a_verdict_and_a_cure(finding: Finding, verdict: str):
    """Whatever is not in order says what to do about it; what is in order asks for nothing."""
    assert finding.verdict == verdict
    assert bool(finding.todo) == (verdict != OK)


def test_a_machine_without_anything_of_ours_is_looked_at_and_left_alone(home: Home):
    """The doctor needs no home, no store and no Ray, and makes none."""
    result = run(home, "--json")
    shown = json.loads(result.stdout)
    assert shown["schema_version"] == 1
    assert shown["exit_code"] == result.exit_code
    seen = {one["subject"]: one["verdict"] for one in shown["findings"]}
    assert seen["import name"] == seen["ray"] == seen["leftovers"] == OK
    assert not home.root.exists()


def test_a_home_that_is_open_to_others_must_be_fixed(home: Home):
    """The exit code is 1 as soon as one thing must be fixed, and the screen says which."""
    home.prepare()
    (home.root / "something").touch()
    home.root.chmod(0o755)
    result = run(home)
    assert result.exit_code == EXIT_ERROR
    assert f"→ chmod 700 {home.root}" in result.stdout
    assert result.stderr == "psup: 1 thing to fix\n"
    home.root.chmod(0o700)
    assert run(home).exit_code == EXIT_OK


def test_a_pipeline_that_nobody_looks_after_must_be_fixed(home: Home):
    """A dead daemon whose parent is dead too is named, with the two ways on."""
    launched(home, dead_owner())
    found = list(checkup.leftovers(home, EmbeddedRay(home.ray, "doctor")))
    assert subjects(found, FIX) == ["pipeline"]
    assert found[0].todo == "psup launch /there/pipeline.yaml, or psup down digits"


def test_a_pipeline_with_a_daemon_is_no_leftover(home: Home):
    """What is looked after is in order."""
    me = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    launched(
        home,
        Owner(os.getpid(), int(me), boot_id(), "t", parent_pid=os.getppid()),
    )
    found = list(checkup.leftovers(home, EmbeddedRay(home.ray, "doctor")))
    assert found == [Finding("leftovers", OK, "none")]


def test_a_socket_that_nobody_listens_at_is_named(home: Home):
    """It does no harm, and the doctor says so."""
    launched(home, dead_owner())
    path = address(home.root, "digits")
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bell:
        bell.bind(str(path))
    found = list(checkup.leftovers(home, EmbeddedRay(home.ray, "doctor")))
    assert subjects(found, LOOK) == ["socket"]
    path.unlink()


def test_a_ray_that_died_is_told_from_one_that_rests(home: Home):
    """Processes of a session without its main ones are named; the next launch ends them."""
    home.prepare()
    home.ray.mkdir()
    embedded = EmbeddedRay(home.ray, "doctor")
    assert checkup.embedded_ray(embedded).verdict == OK
    orphan = subprocess.Popen(["sleep", "1000"], start_new_session=True, cwd=home.ray)
    try:
        (home.ray / "sid").write_text(f"{boot_id()} {orphan.pid}\n")
        finding = checkup.embedded_ray(embedded)
        assert finding.verdict == LOOK
        assert finding.found.endswith(f"behind: {orphan.pid}")
    finally:
        orphan.kill()
        orphan.wait()


def test_a_folder_of_somebody_else_is_no_place_for_sockets(tmp_path: Path):
    """Where the home's path is too long for sockets, the short folder must be ours alone."""
    short = tmp_path / "short"
    short.mkdir(mode=0o755)
    long = tmp_path / ("x" * 100)
    assert (
        checkup.socket_folders(Path("/home/ann/.psup"), Path("/home/ann/.psup/ray/t")).verdict == OK
    )
    assert str(long) in checkup.socket_folders(long, short / "t").found


@pytest.mark.ray
def test_the_ray_of_a_home_is_shown_with_its_users(ray_home: Path):
    """A Ray that is up says where, for whom, and how much it takes."""
    finding = checkup.embedded_ray(EmbeddedRay(ray_home / "ray", "doctor"))
    assert finding.verdict == OK
    assert "used by" in finding.found
    assert "the-test-run" in finding.found
