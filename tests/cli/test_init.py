"""`psup init`: what it writes is valid and runs; what is there is never touched."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import threading
import urllib.request
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result

from supervisor.body import Context
from supervisor.cli.main import psup
from supervisor.config import load
from supervisor.core.spec import SegmentSpec, SupervisorSpec


def init(*arguments: str) -> Result:
    return CliRunner().invoke(psup, ["init", *arguments])


@pytest.fixture
def starter(tmp_path: Path) -> Path:
    """The folder that `psup init` wrote."""
    folder = tmp_path / "dice"
    assert init(str(folder)).exit_code == 0
    return folder


def test_what_it_writes_is_a_valid_pipeline(starter: Path) -> None:
    """Two tasks and a service, without a warning, named after the folder."""
    pipeline = load(starter / "pipeline.yaml", overrides=(), environment=os.environ)
    numbers, answer = pipeline.spec.children
    assert pipeline.warnings == ()
    assert pipeline.spec.name == "dice"
    assert isinstance(numbers, SupervisorSpec)
    assert [child.name for child in numbers.children] == ["roll", "add-up"]
    assert isinstance(answer, SegmentSpec)
    assert answer.kind == "service"


def test_it_says_which_files_and_what_to_type_next(tmp_path: Path) -> None:
    """Files on stdout, advice on stderr; a folder with spaces is quoted."""
    folder = tmp_path / "my dice"
    done = init(str(folder))
    assert done.stdout.splitlines() == [
        str(folder / name) for name in ("pipeline.yaml", "steps.py", "pipeline.schema.json")
    ]
    assert f"psup launch '{folder}/pipeline.yaml'" in done.stderr
    assert "psup down my-dice" in done.stderr


@pytest.mark.parametrize("name", ["pipeline.yaml", "steps.py", "pipeline.schema.json"])
def test_it_overwrites_nothing_and_then_writes_nothing(tmp_path: Path, name: str) -> None:
    """One file in the way is enough: exit code 1, and it is named."""
    (tmp_path / name).write_text("mine")
    done = init(str(tmp_path))
    assert done.exit_code == 1
    assert f"already has {name}; nothing was written" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_files_of_others_are_no_obstacle(tmp_path: Path) -> None:
    """A folder with other things in it gets the pipeline beside them."""
    (tmp_path / "notes.txt").write_text("mine")
    assert init(str(tmp_path)).exit_code == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_file_where_the_folder_should_be_is_a_usage_error(tmp_path: Path) -> None:
    """Exit code 2, and nothing changes."""
    (tmp_path / "dice").write_text("mine")
    assert init(str(tmp_path / "dice")).exit_code == 2
    assert (tmp_path / "dice").read_text() == "mine"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("dice", "dice"),
        ("My first pipeline!", "My-first-pipeline"),
        ("_private-", "private"),
        ("würfel", "w-rfel"),
        ("骰子", "my-pipeline"),
        ("x" * 80, "x" * 63),
        ("0815", "0815"),
        ("on", "on"),
    ],
)
def test_a_folder_of_any_name_gives_a_pipeline_that_loads(
    tmp_path: Path, folder: str, name: str
) -> None:
    """Names hold letters, digits, - and _, and YAML must not read them as anything but text."""
    assert init(str(tmp_path / folder)).exit_code == 0
    pipeline = load(tmp_path / folder / "pipeline.yaml", overrides=(), environment=os.environ)
    assert pipeline.spec.name == name


@pytest.fixture
def steps(starter: Path) -> ModuleType:
    """The module that was written."""
    spec = importlib.util.spec_from_file_location("steps", starter / "steps.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_its_steps_do_what_they_say(steps: ModuleType, tmp_path: Path) -> None:
    """Rolled, added up, and told over HTTP until a stop is asked for."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ctx = Context(
        {
            "PSUP_PIPELINE_DIR": str(tmp_path / "data"),
            "PSUP_PARAMS": json.dumps({"dice": 3}),
            "PSUP_PORT_HTTP": str(port),
        }
    )
    listening = threading.Event()
    steps.HTTPServer = type(
        "Told", (steps.HTTPServer,), {"service_actions": lambda _self: listening.set()}
    )
    steps.roll(ctx)
    steps.add_up(ctx)
    service = threading.Thread(target=steps.answer, args=(ctx,))
    service.start()
    try:
        assert listening.wait(10)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{port}/") as reply:
            told = json.load(reply)
    finally:
        ctx.stopping.set()
        service.join(10)
    assert not service.is_alive()
    rolled = json.loads((tmp_path / "data" / "rolled.json").read_text())
    assert told == {"dice": 3, "sum": sum(rolled)}
