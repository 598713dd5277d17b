"""Where the digits pipeline's segments find their modules, their data and each other."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_in import StandIn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DIGITS = ROOT / "pipelines" / "digits"
sys.path.insert(0, str(DIGITS))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder after `ingest`, `features` and `baseline`; not to be changed."""
    from segments.dataset import features, ingest
    from segments.learning import baseline

    data = tmp_path_factory.mktemp("digits") / "data"
    for segment in (ingest, features, baseline):
        segment(StandIn(data))
    return data


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    """A copy of `prepared` that a test may change."""
    import shutil

    return Path(shutil.copytree(prepared, tmp_path / "data"))


@pytest.fixture
def context(data: Path) -> Callable[..., StandIn]:
    """Make contexts on the same data folder."""
    return lambda **params: StandIn(data, **params)


@pytest.fixture
def with_import_path() -> dict[str, str]:
    """An environment in which a fresh Python finds the segments, this file, and psup."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (DIGITS, HERE, ROOT)))}


@pytest.fixture
def run_python(with_import_path: dict[str, str]) -> Callable[..., str]:
    """Run code in a fresh Python and return what it printed."""

    def run(code: str, *arguments: object) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=with_import_path,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout

    return run


@pytest.fixture
def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
