"""Loading from disk: which files are opened, and what is said of those that are not."""

import os
from pathlib import Path

import pytest
from config_world import ENVIRONMENT, one_segment

from supervisor.config import InvalidPipeline, load
from supervisor.config.files import LARGEST_FILE_BYTES

GOOD = one_segment("run: steps:ingest")


def problem_with(file):
    with pytest.raises(InvalidPipeline) as caught:
        load(file, environment=ENVIRONMENT)
    (problem,) = caught.value.problems
    return problem


def test_a_missing_file_suggests_its_neighbour(folder):
    """The problem is located in the file that was asked for."""
    problem = problem_with(folder / "pipelin.yaml")
    assert (problem.message, problem.mark.line) == ("no such file", 1)
    assert problem.suggestion == f"`{folder}/pipeline.yaml`"
    assert problem_with(folder / "nowhere" / "x.yaml").suggestion == ""


def test_a_folder_suggests_the_pipeline_inside(folder):
    """People type the folder's name."""
    problem = problem_with(folder)
    assert problem.message == "a folder, not a file"
    assert problem.suggestion == f"`{folder}/pipeline.yaml`"


def test_a_pipe_is_not_opened(tmp_path):
    """What could hang is never read."""
    os.mkfifo(tmp_path / "pipe")
    assert problem_with(tmp_path / "pipe").message == "not a regular file"
    assert problem_with(Path("/dev/zero")).message == "not a regular file"


def test_a_file_of_more_than_one_mebibyte_is_refused(folder):
    """Exactly one is still read."""
    file = folder / "pipeline.yaml"
    padding = b"#" * (LARGEST_FILE_BYTES - len(GOOD) - 1) + b"\n"
    file.write_bytes(padding + GOOD.encode())
    assert load(file, environment=ENVIRONMENT).spec.name == "p"
    file.write_bytes(b"#" + padding + GOOD.encode())
    assert problem_with(file).message == "the file is larger than 1MiB"


def test_a_name_that_no_system_takes_is_a_problem(folder):
    """The system's own words are passed on."""
    assert "cannot be read" in problem_with(folder / ("x" * 300)).message


def test_file_and_folder_are_absolute_and_problems_as_typed(folder, monkeypatch):
    """The daemon has another working folder; the person has this one."""
    monkeypatch.chdir(folder)
    Path("pipeline.yaml").write_text(GOOD)
    loaded = load(Path("pipeline.yaml"), environment=ENVIRONMENT)
    assert (loaded.file, loaded.folder) == (folder / "pipeline.yaml", folder)
    assert loaded.spec.children[0].body.folder == str(folder)
    Path("pipeline.yaml").write_text("x: 1\n")
    with pytest.raises(InvalidPipeline) as caught:
        load(Path("pipeline.yaml"), environment=ENVIRONMENT)
    assert caught.value.problems[0].mark.file == "pipeline.yaml"


def test_three_thousand_segments_in_one_chain_load(folder):
    """Large pipelines need neither recursion nor patience."""
    file = folder / "pipeline.yaml"
    segments = "".join(f"  s{n}: {{command: [sh], after: [s{n - 1}]}}\n" for n in range(1, 3000))
    file.write_text(f"pipeline: p\nchildren:\n  s0: {{command: [sh]}}\n{segments}")
    assert len(load(file, environment=ENVIRONMENT).spec.children) == 3000
