"""Doubts about the code that a segment names; nothing of it is run."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from supervisor.config.code import doubt_about_program, doubt_about_target

SOURCE = """\
raise SystemExit("imported!")
from json import dumps as write
limit = 3
def train(ctx): pass
class Model:
    def fit(ctx): pass
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "steps.py").write_text(SOURCE)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "learn.py").write_text("def train(ctx): pass\n")
    (tmp_path / "broken.py").write_text("def (:\n")
    (tmp_path / "open.py").write_text("from steps import *\n")
    return tmp_path


@pytest.mark.parametrize(
    "target",
    [
        "steps:train",
        "steps:write",
        "steps:limit",
        "steps:Model.fit",
        "parts.learn:train",
        "json:dumps",
        "os.path:join",
        "broken:anything",
        "open:anything",
    ],
)
def test_code_that_can_be_found_raises_no_doubt(here, target):
    """Beside the pipeline or installed; what cannot be told is left to the run itself."""
    assert doubt_about_target(target, here) == ("", "")


@pytest.mark.parametrize(
    ("target", "doubt", "suggestion"),
    [
        ("stepz:train", "no module `stepz`", "`steps:train`"),
        ("steps:trian", "steps.py defines no `trian`", "`steps:train`"),
        ("parts.learn:tran", "learn.py defines no `tran`", "`parts.learn:train`"),
        ("parts.lern:train", "no module `parts.lern`", ""),
    ],
)
def test_code_that_cannot_be_found_is_doubted(here, target, doubt, suggestion):
    """The doubt names what is missing and what was probably meant."""
    found, hint = doubt_about_target(target, here)
    assert doubt in found
    assert hint == suggestion


def test_a_module_without_a_spec_cannot_be_found(here, monkeypatch):
    """What only lives in this process's memory will not be there in the body's."""
    monkeypatch.setitem(sys.modules, "ghost", ModuleType("ghost"))
    assert "no module `ghost`" in doubt_about_target("ghost:x", here)[0]


def test_programs_are_looked_for_where_the_body_would(here):
    """On the environment's PATH, or in the folder when the name has a slash."""
    script = here / "run.sh"
    script.write_text("#!/bin/sh\n")
    environment = {"PATH": str(Path(sys.executable).parent)}
    assert doubt_about_program([Path(sys.executable).name], here, environment) == ("", "")
    assert doubt_about_program(["run.sh"], here, environment)[1] == "`./run.sh`"
    assert "no program `./run.sh`" in doubt_about_program(["./run.sh"], here, environment)[0]
    script.chmod(0o700)
    assert doubt_about_program(["./run.sh"], here, environment) == ("", "")
    assert "no program `sh` on PATH" in doubt_about_program(["sh"], here, {})[0]
