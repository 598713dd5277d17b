"""Worlds for the command line: stores on disk, and a daemon that needs no Ray."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_world import World, digits

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture
def world(tmp_path):
    """The pipeline of the README's screen, its daemon alive."""
    world = digits(tmp_path / "home")
    yield world
    world.close()


@pytest.fixture
def empty_world(tmp_path):
    """A home in which a test launches what it needs."""
    world = World(tmp_path / "home")
    yield world
    world.close()


class Stage:
    """A real daemon process over bodies that only pretend; see `puppet.py`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "puppet.py"), str(home)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"

    def psup(self, *args: str, **facts) -> subprocess.CompletedProcess[str]:
        """Run one command line as a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "supervisor", *args],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env={**os.environ, "PSUP_HOME": str(self.home)},
            timeout=60,
            **facts,
        )

    def end(self) -> None:
        """Kill the daemon, as a machine would."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """One daemon for all tests of a module; each uses segments of its own."""
    stage = Stage(tmp_path_factory.mktemp("stage") / "home")
    yield stage
    stage.end()


@pytest.fixture
def own_stage(tmp_path):
    """A daemon that a test may take down or kill."""
    stage = Stage(tmp_path / "home")
    yield stage
    stage.end()
