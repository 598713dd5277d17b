"""What several kinds of tests share: one Ray for the whole run, in a home of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor.adapters.embedded_ray import EmbeddedRay


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the one Ray, so that `-m "not ray"` runs the rest in seconds."""
    for item in items:
        if "ray_home" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.ray)


@pytest.fixture(scope="session")
def ray_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A `$PSUP_HOME` whose embedded Ray is up for the whole run: every daemon in it joins that one.

    The run counts as a user of it, so the `down` of a pipeline does not stop it; the end of the run
    does. Tests share it and so must use pipeline names of their own.
    """
    home = tmp_path_factory.mktemp("home")
    home.chmod(0o700)
    embedded = EmbeddedRay(home / "ray", "the-test-run")
    # The workers run our code as it is here, whatever folder the tests were started from.
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    embedded.join(lambda reason: print(f"the Ray of the test run ended: {reason}"))
    yield home
    embedded.stop()
    assert embedded.members() == []
