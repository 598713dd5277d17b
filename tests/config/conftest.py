"""Fixtures of the tests of pipeline files: a folder to write them in, and the way to read them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from config_world import ENVIRONMENT, EXAMPLE

from supervisor.config import InvalidPipeline, Problem, load
from supervisor.config.pipeline import LoadedPipeline


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example: a file with every key, a policy, an env file, a module."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "example"))


@pytest.fixture
def example_text() -> str:
    return (EXAMPLE / "pipeline.yaml").read_text()


@pytest.fixture
def load_text(folder: Path) -> Callable[..., LoadedPipeline]:
    """Load a text (or bytes) as the pipeline file of the example's folder."""

    def load_it(text: str | bytes, *overrides: str) -> LoadedPipeline:
        file = folder / "pipeline.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
        return load(file, overrides=overrides, environment=ENVIRONMENT)

    return load_it


@pytest.fixture
def problems_of(load_text: Callable[..., LoadedPipeline]) -> Callable[..., tuple[Problem, ...]]:
    """Return the problems of a text; fail if it has none."""

    def refuse(text: str | bytes, *overrides: str) -> tuple[Problem, ...]:
        with pytest.raises(InvalidPipeline) as caught:
            load_text(text, *overrides)
        return caught.value.problems

    return refuse
