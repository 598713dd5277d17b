"""show prints everything but values of the environment; status one line per pipeline."""

# ruff: noqa: RUF001 - dashes as people print them

import json

from supervisor.core import state
from supervisor.core.spec import SupervisorSpec


def test_show_has_declared_and_measured_facts(world):
    """Ports, folders, log, policy, quota with its enforcement, and the lives."""
    world.life("digits/serve", 1, log="/logs/1.log")
    output = world.run("show", "serve").stdout
    for fact in (
        "http: 127.0.0.1:43121",
        "API_KEY=(not shown)",
        "/logs/1.log",
        f"{world.home}/pipelines/digits/segments/serve/checkpoint",
        "SIGTERM, killed after 10s",
        "memory  512M   212M  –     kernel",
        "1     41873  2h   lives  –     –",
    ):
        assert fact in output
    assert "hunter2" not in output


def test_show_names_the_own_limit_and_the_people(world):
    """A budget of its own, its backoff, owner and runbook."""
    output = world.run("show", "train").stdout
    assert "own limit      5 restarts in 1h" in output
    assert "2s x2 up to 60s, jitter 20%, forgotten after 60s" in output
    assert "owner     ml-team" in output
    assert "after          digits/data/features" in output


def test_show_of_a_pipeline_has_its_daemon_and_file(world):
    """The root is shown as what it is: a pipeline."""
    output = world.run("show", "digits").stdout
    assert "file      digits/pipeline.yaml" in output
    assert "limit     5 restarts in 60s, 0 used" in output


def test_show_json_has_no_value_of_the_environment(world):
    """Names of variables are kept, their values are not there."""
    output = world.run("show", "serve", "train", "--json").stdout
    facts = json.loads(output)
    assert [node["node"]["name"] for node in facts["nodes"]] == ["serve", "train"]
    assert facts["nodes"][0]["spec"]["body"]["env"] == {"API_KEY": None}
    assert [life["incarnation"] for life in facts["nodes"][1]["lives"]] == [3, 2, 1]
    assert "hunter2" not in output


def test_status_counts_the_segments(world):
    """One line per pipeline, the worst code of those that are not down."""
    world.launch(SupervisorSpec("old"), daemon="gone", pipeline_state="down")
    result = world.run("status")
    header, digits, old = result.stdout.splitlines()
    assert header.split() == ["PIPELINE", "STATE", "DAEMON", "AGE", "SEGMENTS"]
    assert digits.split()[:2] == ["digits", "degraded"]
    assert digits.endswith("5 segments: 1 running, 1 backoff, 3 done")
    assert old.split()[:2] == ["old", "down"]
    assert result.exit_code == 3


def test_status_is_0_when_all_is_well(world):
    """A finished task is healthy, and a pipeline that is down beside it does not matter."""
    world.launch(SupervisorSpec("old"), daemon="gone", pipeline_state="down")
    world.put(
        "digits/training/train",
        state.SegmentState(state.Ended(world.now_s, state.Ending.COMPLETED), 3),
    )
    assert world.run("status").exit_code == 0
    assert world.run("status", "old").exit_code == 3
    assert world.run("status", "nope").exit_code == 4


def test_status_of_a_pipeline_without_daemon(world):
    """`not running` is a state of its own, and is said on stderr."""
    world.leave("digits", "dead")
    result = world.run("status", "--json")
    (digits,) = json.loads(result.stdout)["pipelines"]
    assert (digits["state"], digits["daemon_pid"], digits["exit_code"]) == ("not running", None, 3)
    assert digits["segments"] == {"running": 1, "backoff": 1, "done": 3}
    assert "no daemon" in world.run("status").stderr
