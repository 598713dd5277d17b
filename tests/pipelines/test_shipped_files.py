"""Every pipeline file that is shipped loads, and what it names is there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from supervisor.config import load
from supervisor.config.schema import schema_text
from supervisor.core.spec import Kind, NodeSpec, Restart, SegmentSpec

PIPELINES = Path(__file__).resolve().parents[2] / "pipelines"
FILES = sorted(PIPELINES.glob("*/pipeline.yaml"))
GIB = 1024**3


def segments(node: NodeSpec, above: str = "") -> Iterator[tuple[str, SegmentSpec]]:
    if isinstance(node, SegmentSpec):
        yield above + node.name, node
        return
    for child in node.children:
        yield from segments(child, f"{above}{node.name}/")


def loaded(folder: str, *overrides: str) -> dict[str, SegmentSpec]:
    file = PIPELINES / folder / "pipeline.yaml"
    return dict(segments(load(file, overrides=overrides, environment=os.environ).spec))


def test_both_pipelines_are_looked_at() -> None:
    """The glob below finds what is shipped."""
    assert [file.parent.name for file in FILES] == ["digits", "scripts"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_shipped_pipeline_is_valid_without_a_warning(file: Path) -> None:
    """It is named after its folder, and every node says what it is for or is plain enough."""
    pipeline = load(file, overrides=(), environment=os.environ)
    assert pipeline.warnings == ()
    assert pipeline.spec.name == file.parent.name
    assert pipeline.spec.notes.description


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_shipped_pipeline_starts_with_the_line_that_editors_read(file: Path) -> None:
    """The schema that it points to is shipped, and is the one that `psup schema` prints."""
    first = file.read_text().splitlines()[0]
    _, _, schema = first.partition("# yaml-language-server: $schema=")
    assert (file.parent / schema).read_text() == schema_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_a_shipped_pipeline_fits_its_schema(file: Path) -> None:
    """What the loader accepts, an editor does not underline."""
    import json

    import jsonschema

    jsonschema.validate(yaml.safe_load(file.read_text()), json.loads(schema_text()))


def test_the_digits_pipeline_has_the_parts_it_promises() -> None:
    """Seven segments under the supervisors of the picture."""
    found = loaded("digits")
    assert list(found) == [
        "digits/data/ingest",
        "digits/data/features",
        "digits/data/baseline",
        "digits/training/train",
        "digits/evaluate",
        "digits/serve",
        "digits/monitor",
    ]
    services = [path for path, segment in found.items() if segment.kind is Kind.SERVICE]
    assert services == ["digits/serve", "digits/monitor"]


def test_training_alone_can_give_up_and_fits_a_gigabyte() -> None:
    """Its branch is a bulkhead, and its own budget ends the story within about a minute."""
    pipeline = load(PIPELINES / "digits" / "pipeline.yaml", overrides=(), environment=os.environ)
    training = next(one for one in pipeline.spec.children if one.name == "training")
    train = loaded("digits")["digits/training/train"]
    assert training.restart is Restart.TEMPORARY
    assert train.quota.memory_bytes == GIB
    assert train.budget is not None
    delays = [
        min(train.backoff.first_s * train.backoff.factor**attempt, train.backoff.max_s)
        for attempt in range(train.budget.max_restarts)
    ]
    assert delays == [1, 2, 4, 8, 8]


def test_misbehaviour_can_be_asked_for_on_the_command_line() -> None:
    """`--set` reaches the parameters, as the README types it."""
    train = loaded("digits", "train.leak=4GiB", "train.spin=8", "train.crash=bad batch")
    params = train["digits/training/train"].body.params
    assert (params["leak"], params["spin"], params["crash"]) == ("4GiB", 8, "bad batch")


@pytest.mark.parametrize("path", sorted(loaded("digits")))
def test_what_a_digits_segment_runs_can_be_called(path: str) -> None:
    """The module is found next to the pipeline file, and the name in it is a function."""
    import importlib

    module, _, name = str(loaded("digits")[path].body.run).partition(":")
    assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("path", sorted(loaded("scripts")))
def test_what_a_scripts_segment_runs_is_a_program_of_its_folder(path: str) -> None:
    """And it parses, as far as its interpreter can tell without running it."""
    program, script, *_ = loaded("scripts")[path].body.command or ("", "")
    file = PIPELINES / "scripts" / script
    check = {
        "sh": ["sh", "-n", str(file)],
        "python3": [sys.executable, "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"],
    }[program]
    subprocess.run([*check, str(file)], check=True)
