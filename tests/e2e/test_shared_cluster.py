"""Several homes on one Ray that none of them started: `psup launch --address`."""

from __future__ import annotations

import json
import pathlib

import pytest

from tests.e2e.harness import PIPELINES, Person

SCRIPTS = str(PIPELINES / "scripts" / "pipeline.yaml")

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(180)]


def guest(home: pathlib.Path, host: pathlib.Path) -> Person:
    """Someone with a home of their own who is let into the host's Ray."""
    home.mkdir(mode=0o700)
    person = Person(home)
    person.environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(host / "ray" / "token"),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    return person


def test_two_homes_run_the_same_pipeline_on_one_cluster(
    ray_home: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Neither sweeps, adopts or stops what the other runs under the same name."""
    address = json.loads((ray_home / "ray" / "session.json").read_text())["address"]
    people = [guest(tmp_path / name, ray_home) for name in ("one", "two")]
    try:
        for person in people:
            done = person.types("launch", SCRIPTS, "--address", address)
            assert done.returncode == 0, done.stderr
        for person in people:
            for segment in ("web", "clock"):
                node = person.waits_for(f"scripts/{segment}", "running")
                assert (node["incarnation"], node["restarts"]["count"]) == (1, 0)
        assert people[0].types("down").returncode == 0
        assert people[1].segment("scripts/web")["state"] == "running"
    finally:
        for person in people:
            person.types("down", "--all")
