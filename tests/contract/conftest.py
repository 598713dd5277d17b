"""Every contract test of backends runs in each of these worlds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.stages import MemoryWorld, RayWorld, Stage, World


@pytest.fixture(scope="module", params=["memory", "ray"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world for all tests of a module; nothing may be left of it in the end."""
    if request.param == "memory":
        world: World = MemoryWorld()
    else:
        world = RayWorld(request.getfixturevalue("ray_home"))
    yield world
    world.close_backend(stop_cells=True)
    assert world.is_empty()


@pytest.fixture
def stage(world: World, tmp_path: Path) -> Iterator[Stage]:
    """A part of the world for one test."""
    stage = Stage(world, tmp_path)
    yield stage
    stage.close()
