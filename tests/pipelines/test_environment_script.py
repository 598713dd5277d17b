"""`scripts/environment.sh`: what a newcomer with the wrong machine is told, and what is kept."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def old_python(tmp_path: Path) -> Path:
    """A program that answers like Python 3.8."""
    program = tmp_path / "old-python"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.10" && exit 0\nexit 1\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def good_venv(tmp_path: Path) -> Path:
    """A virtual environment whose Python is new enough and whose pip always succeeds."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    python = venv / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$*" >> "$(dirname "$0")/../calls"\n')
    python.chmod(0o755)
    return venv


def run(program: str, *, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", program],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


ENVIRONMENT = ". scripts/environment.sh; environment digits,dev"


@pytest.mark.parametrize("command", ["scripts/demo", "scripts/test", ".ci/run"])
def test_a_python_that_is_too_old_is_named_with_the_way_out(
    tmp_path: Path, old_python: Path, command: str
) -> None:
    """From any folder: the version found, the one needed, and what to type."""
    done = run(
        str(ROOT / command), cwd=tmp_path, PYTHON=str(old_python), PSUP_VENV=str(tmp_path / "new")
    )
    assert done.returncode == 1
    assert "psup needs Python 3.11 or newer; found: Python 3.8.10" in done.stderr
    assert "PYTHON=" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_no_virtual_environment_is_never_removed(tmp_path: Path) -> None:
    """Somebody pointed PSUP_VENV at their documents."""
    (tmp_path / "thesis.tex").write_text("...")
    done = run(ENVIRONMENT, PSUP_VENV=str(tmp_path))
    assert done.returncode == 1
    assert "is not a virtual environment" in done.stderr
    assert (tmp_path / "thesis.tex").exists()


def installations(venv: Path) -> list[str]:
    calls = (venv / "calls").read_text().splitlines()
    return [call for call in calls if call.startswith("-m pip install")]


def test_an_environment_is_installed_once(good_venv: Path) -> None:
    """The second time nothing is installed; it is, when the installation was broken off."""
    for _ in range(2):
        assert run(ENVIRONMENT, PSUP_VENV=str(good_venv)).returncode == 0
    assert installations(good_venv) == [
        "-m pip install -qq --disable-pip-version-check --editable .[digits,dev]"
    ]
    stamp = good_venv / ".installed-digits-dev"
    stamp.write_text("of another setup.py\n")
    assert run(ENVIRONMENT, PSUP_VENV=str(good_venv)).returncode == 0
    assert len(installations(good_venv)) == 2


def test_an_installation_that_fails_is_tried_again(good_venv: Path) -> None:
    """No stamp is left, and the message says so."""
    python = good_venv / "bin" / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -c ]\n')
    done = run(ENVIRONMENT, PSUP_VENV=str(good_venv))
    assert done.returncode == 1
    assert "pip could not install psup" in done.stderr
    assert not list(good_venv.glob(".installed-*"))


def test_all_checks_run_and_one_that_fails_is_named_last(good_venv: Path) -> None:
    """A wrong import order hides no failing test, and arguments reach pytest."""
    for name, code in (("ruff", 1), ("mypy", 0)):
        program = good_venv / "bin" / name
        program.write_text(f"#!/bin/sh\nexit {code}\n")
        program.chmod(0o755)
    done = run("scripts/test tests/core -k 'two words'", PSUP_VENV=str(good_venv))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: failed: ruff check ., ruff format --check ."
    assert (good_venv / "calls").read_text().splitlines()[-1] == "-m pytest tests/core -k two words"
    (good_venv / "bin" / "ruff").write_text("#!/bin/sh\n")
    assert run("scripts/test", PSUP_VENV=str(good_venv)).returncode == 0


def test_no_script_names_a_registry_or_a_folder_of_one_machine() -> None:
    """They must work wherever the repository is cloned."""
    for name in ("scripts/demo", "scripts/test", "scripts/environment.sh", ".ci/run"):
        text = (ROOT / name).read_text()
        for word in ("http://", "https://", "index-url", "find-links", "/root", "/work", "/opt"):
            assert word not in text, name
