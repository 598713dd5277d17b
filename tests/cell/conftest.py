"""Fixtures of the cell's tests: a world per kind of limiter that this machine allows."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cell_world import CellWorld

from supervisor.adapters.cgroup_place import find_hierarchy
from supervisor.errors import QuotaUnenforceable


@pytest.fixture(scope="session")
def kernel_mode() -> str:
    try:
        return find_hierarchy().mode
    except QuotaUnenforceable as error:
        pytest.skip(str(error))


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[str], CellWorld]]:
    worlds = []
    run_folder = Path(tempfile.mkdtemp(prefix="psup-t-"))

    def make(mode: str) -> CellWorld:
        worlds.append(CellWorld(tmp_path, mode, run_folder=run_folder))
        return worlds[-1]

    yield make
    for world in worlds:
        world.cell.close()
        assert world.limiter.sweep("zoo", {}) == [], "a closed cell leaves nothing behind"
    assert list(run_folder.iterdir()) == [], "every life removes its notify socket"
    shutil.rmtree(run_folder)


@pytest.fixture
def kernel_world(make_world: Callable[[str], CellWorld], kernel_mode: str) -> CellWorld:
    return make_world(kernel_mode)


@pytest.fixture
def rlimit_world(make_world: Callable[[str], CellWorld]) -> CellWorld:
    return make_world("rlimit")


@pytest.fixture(params=["kernel", "rlimit"])
def world(request: pytest.FixtureRequest, make_world: Callable[[str], CellWorld]) -> CellWorld:
    if request.param == "kernel":
        return make_world(request.getfixturevalue("kernel_mode"))
    return make_world("rlimit")
