"""`psup validate` and `psup schema`, as a person or a script meets them."""

import json

import pytest
from config_world import one_segment

from supervisor.cli.main import psup
from supervisor.cli.validate import quota_lines
from supervisor.core.spec import Quota, SegmentSpec, SupervisorSpec


@pytest.fixture
def run(folder, capsys):
    """Run a command line in the example's folder; return exit code, stdout and stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as ended:
            psup.main([*arguments])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call


def test_a_valid_file_is_summed_up(run, folder):
    """The tree on stdout with what matters, the verdict on stderr, exit code 0."""
    code, out, err = run("validate", str(folder / "pipeline.yaml"))
    assert code == 0
    assert out.splitlines()[0].split() == (
        ["example", "rest_for_one,", "gives", "up", "beyond", "7", "restarts", "in", "2m"]
    )
    assert "    train   transient task, policy house, after batch/ingest, memory 2GiB" in out
    assert err.endswith("pipeline.yaml is valid\n")


def test_all_problems_are_printed_with_exit_code_2(run, folder):
    """One line each on stdout, their number on stderr."""
    (folder / "pipeline.yaml").write_text(one_segment("run: steps\nkind: job"))
    code, out, err = run("validate", str(folder / "pipeline.yaml"))
    assert (code, err) == (2, "psup: the pipeline cannot be launched, 2 problems\n")
    assert out.splitlines() == [
        (
            f"{folder}/pipeline.yaml:4:10: children.s.run: a wrong value"
            " (found `steps`, expected `module:callable`; did you mean `steps:main`?)"
        ),
        (
            f"{folder}/pipeline.yaml:5:11: children.s.kind: a wrong value"
            " (found `job`, expected `task` or `service`; did you mean `task`?)"
        ),
    ]


def test_overrides_are_checked_too(run, folder):
    """A file that is valid by itself may be wrong with a --set."""
    code, out, _ = run("validate", str(folder / "pipeline.yaml"), "--set", "train.quota.memory=2")
    assert code == 2
    assert out.startswith("--set train.quota.memory: ")


def test_warnings_are_talk(run, folder):
    """They go to stderr and change nothing."""
    (folder / "pipeline.yaml").write_text(one_segment("run: stepz:ingest"))
    code, out, err = run("validate", str(folder / "pipeline.yaml"))
    assert code == 0
    assert "warning" not in out
    assert "warning" in err
    assert "`steps:ingest`" in err


def test_json_has_the_documented_shape(run, folder):
    """Valid and invalid files, with the same keys for a problem."""
    file = folder / "pipeline.yaml"
    code, out, _ = run("validate", str(file), "--json")
    report = json.loads(out)
    assert (code, report["schema_version"], report["valid"]) == (0, 1, True)
    assert report["segments"][0] == "example/batch/ingest"
    assert set(report["enforcement"]) >= {"memory", "cpu", "time"}
    file.write_text(one_segment("run: steps"))
    code, out, _ = run("validate", str(file), "--json")
    report = json.loads(out)
    assert (code, report["valid"]) == (2, False)
    assert report["problems"] == [
        {
            "file": str(file), "line": 4, "column": 10, "key": "children.s.run",
            "message": "a wrong value", "found": "`steps`", "expected": "`module:callable`",
            "suggestion": "`steps:main`",
        }
    ]  # fmt: skip


def test_a_file_that_is_not_there_is_a_problem_of_that_file(run, folder):
    """No traceback, exit code 2, and a suggestion."""
    code, out, _ = run("validate", str(folder / "pipelne.yaml"))
    assert code == 2
    assert out.startswith(f"{folder}/pipelne.yaml:1:1: no such file (did you mean ")


def test_quotas_say_how_this_node_holds_them():
    """Each declared quota once, with those who declare it."""
    children = (
        SegmentSpec("a", quota=Quota(memory_bytes=1, cpu_cores=1.0)),
        SupervisorSpec("g", (SegmentSpec("b", quota=Quota(memory_bytes=1, disk_bytes=1)),)),
    )
    how = {"memory": "kernel", "cpu": "none", "disk": "sampled"}
    assert quota_lines(SupervisorSpec("p", children), how.__getitem__) == [
        "memory  held by the kernel  (a, g/b)",
        "cpu     NOT held on this node (psup launch --strict-quotas refuses it)  (a)",
        "disk    measured, and what exceeds it is killed  (g/b)",
    ]
    assert quota_lines(SupervisorSpec("p", children[:0]), str) == ["no quotas declared"]


def test_schema_prints_json_schemas(run):
    """Of pipelines, and of policies on request."""
    code, out, err = run("schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["title"] == "psup pipeline"
    assert json.loads(run("schema", "--policy")[1])["title"] == "psup policy"
