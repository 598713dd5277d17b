"""Worlds for the command line: stores on disk, and a daemon that needs no Ray."""

import pytest
from cli_world import Stage, World, digits


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
