"""Where things lie below $PSUP_HOME."""

import stat
from pathlib import Path

import pytest

from supervisor.cli.home import Home
from supervisor.errors import StoreError


def test_the_environment_names_the_home(tmp_path):
    """PSUP_HOME wins; unset or empty means ~/.psup; a relative one is made absolute."""
    assert Home.resolve({"PSUP_HOME": str(tmp_path)}).root == tmp_path
    assert Home.resolve({}).root == Path.home() / ".psup"
    assert Home.resolve({"PSUP_HOME": ""}).root == Path.home() / ".psup"
    assert Home.resolve({"PSUP_HOME": "~/elsewhere"}).root == Path.home() / "elsewhere"
    assert Home.resolve({"PSUP_HOME": "here"}).root == Path.cwd() / "here"


def test_every_place_has_one_name():
    """The layout is the documented one."""
    home = Home(Path("/h"))
    assert {
        "state": home.state_db,
        "ray": home.ray,
        "pipeline": home.pipeline("digits"),
        "log": home.daemon_log("digits"),
        "data": home.data("digits"),
        "segment": home.segment("digits/training/train"),
    } == {
        "state": Path("/h/state.db"),
        "ray": Path("/h/ray"),
        "pipeline": Path("/h/pipelines/digits"),
        "log": Path("/h/pipelines/digits/daemon.log"),
        "data": Path("/h/pipelines/digits/data"),
        "segment": Path("/h/pipelines/digits/segments/training/train"),
    }


def test_only_prepare_touches_the_disk(tmp_path):
    """Looking makes nothing; preparing makes a private folder, or says why not."""
    home = Home.resolve({"PSUP_HOME": str(tmp_path / "home")})
    assert not home.state_db.exists()
    assert not home.root.exists()
    home.prepare()
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700

    shared = Home(tmp_path / "shared")
    shared.root.mkdir()
    (shared.root / "file").touch()
    shared.root.chmod(0o755)
    with pytest.raises(StoreError, match="open to other users"):
        shared.prepare()


def test_waking_a_daemon_that_is_not_there_is_no_error(tmp_path):
    """Nobody listens: that is an answer, not a failure."""
    assert Home(tmp_path).wake("digits") is False
