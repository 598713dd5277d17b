"""`plan --if`, `explain restart` and `graph`: what would follow, and how all hangs together."""

import json
import os
import subprocess
import sys

import pytest
from cli_world import DIGITS, ROOT, task

from supervisor.cli.whatif import parse_faults, what_if
from supervisor.core import state
from supervisor.core.spec import Backoff, Budget, Health, Probe, Restart, SupervisorSpec
from supervisor.errors import NoSuchTarget, SpecError

TRAIN_LIMIT = "p/training/train oom; its limit of 3 restarts in 3600s is used up"
A_LIMIT = "p/g/a error(crash); its limit of 3 restarts in 60s is used up"
FILE = """\
pipeline: p
children:
  data:
    strategy: rest_for_one
    children:
      ingest: {command: [ls]}
      features: {command: [ls], after: [ingest]}
  training:
    restart: temporary
    max_restarts: 3
    max_seconds: 1h
    children:
      train:
        command: [ls]
        after: [features]
        restart: {type: transient, backoff: {first: 1s, factor: 2, max: 60s}}
  evaluate: {command: [ls], after: [train]}
  serve: {kind: service, command: [sleep, "9"]}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE)
    return str(path)


# --------------------------------------------------------------------------------------- plan --if


def test_a_forecast_reads_like_this(world, file):
    """The whole screen: attempts, end, who waits for ever, who is untouched."""
    result = world.run("plan", file, "--if", "train=oom")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "when p is up, this begins to fail and fails in every life: training/train (oom)",
        "",
        f"training        gives up at +7s: {TRAIN_LIMIT}",
        "                stays down",
        "training/train  oom at +0s, +1s, +3s, +7s",
        "                starts again at +1s, +3s, +7s",
        "                stays down",
        "evaluate        waits for training/train, for ever",
        "",
        "untouched: data/ingest, data/features and serve (3 of 5 segments)",
        "all is settled at +7s; delays are told without their jitter",
    ]


def test_a_forecast_as_json(world, file):
    """Every node with its times; who is untouched."""
    result = world.run("plan", file, "--if", "train=oom", "--if", "serve=hang", "--json")
    facts = json.loads(result.stdout)
    nodes = {node["path"]: node for node in facts["nodes"]}
    assert facts["faults"] == {"p/training/train": "oom", "p/serve": "hang"}
    assert nodes["p/training/train"]["starts_s"] == [1, 3, 7]
    assert nodes["p/training"]["gave_up_s"] == facts["settled_s"] == 7
    assert nodes["p/serve"]["noticed"] is False
    assert "p/data" in facts["untouched"]


def test_one_glob_is_every_segment(world, file):
    """A lost node takes all that ran on it; nobody is untouched."""
    result = world.run("plan", file, "--if", "*=node_lost")
    assert "untouched: nobody" in result.stdout


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        ("train=oomm", 2, "did you mean oom?"),
        ("train=oom[big]", 2, "oom takes no detail in brackets"),
        ("train", 2, "as in --if train=oom"),
        ("trian=oom", 4, "did you mean train"),
    ],
)
def test_a_fault_that_cannot_be(world, file, typed, code, words):
    """Named, with the nearest word, and its exit code."""
    result = world.run("plan", file, "--if", typed)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""


def test_faults_and_their_details():
    """Brackets give the exception, the exit code or the signal; a supervisor means all below."""
    faults = parse_faults(DIGITS, ["data=exit[42]", "train=error[ValueError]", "serve=crash"])
    assert {path: str(reason) for path, reason in faults.items()} == {
        "digits/data/ingest": "exit(42)",
        "digits/data/features": "exit(42)",
        "digits/training/train": "error(ValueError)",
        "digits/serve": "error(crash)",
    }
    with pytest.raises(SpecError):
        parse_faults(DIGITS, ["train=boom"])
    with pytest.raises(NoSuchTarget):
        parse_faults(DIGITS, ["nobody=oom"])


def test_what_never_settles_is_said():
    """A hang that is never killed, because its grace has no end."""
    from supervisor.core.spec import Shutdown

    deaf = task("a", health=Health(alive=Probe("tcp")), shutdown=Shutdown(grace_s=None))
    lines, facts = what_if(SupervisorSpec("p", (deaf,)), ["a=hang"])
    assert lines[-1] == "it never settles by itself"
    assert any("is stopping for ever" in line for line in lines)
    assert facts["settled_s"] is None


def test_a_group_and_the_whole_pipeline_go_down():
    """Stops are told, and that it is the pipeline that ends."""
    spec = SupervisorSpec(
        "p",
        (task("a", backoff=Backoff(1.0, jitter=0.0)), task("b")),
        strategy="one_for_all",
        max_restarts=1,
    )
    lines, facts = what_if(spec, ["a=crash"])
    assert lines[7:10] == [
        "b  stopped at +0s, +1s",
        "   starts again at +1s",
        "   stays down with its supervisor",
    ]
    assert lines[-1].startswith("the pipeline goes down at +1s")
    assert facts["halted"] is True


# ---------------------------------------------------------------------------------- explain restart


def test_the_schedule_of_a_segment_that_backs_off(world):
    """From its saved state: the backoff that runs, two restarts left, its own limit, alone."""
    lines = world.run("explain", "restart", "train").stdout.splitlines()
    assert lines[0] == "digits/training/train  backoff  (transient task)"
    assert lines[1] == "  if it fails by error(crash) and every try fails at once:"
    assert lines[2].startswith("  tries at +7.")
    assert lines[2].endswith(" (each delay up to 20% shorter or longer)")
    assert lines[3].startswith("  gives up after at most 1m")
    assert lines[3].endswith("error(crash); its own budget of 5 restarts in 3600s is used up")
    assert lines[4] == "  nobody else is touched"
    assert lines[5] == "  the counter clears after 60s of health"


def test_the_schedule_of_a_healthy_segment(empty_world):
    """Tries at +1 s, +3 s, +7 s, and the supervisor's limit ends it: whose, and for whom."""
    spec = SupervisorSpec(
        "p",
        (
            SupervisorSpec(
                "g",
                (
                    task("a", backoff=Backoff(1.0, 2.0, 60.0, 0.0, 600.0)),
                    task("b"),
                    task("t", restart=Restart.TEMPORARY),
                ),
                max_restarts=3,
                restart=Restart.TEMPORARY,
            ),
            task("c", budget=Budget(0)),
        ),
    )
    now_s = empty_world.now_s
    running = state.SegmentState(state.Running(now_s - 5), 1)
    up = state.SupervisorState(state.Up(now_s - 5), 1)
    states = {"p": up, "p/g": up, "p/c": running}
    states |= {f"p/g/{name}": running for name in "abt"}
    empty_world.launch(spec, states)
    assert empty_world.run("explain", "restart", "a").stdout.splitlines() == [
        "p/g/a  running  (transient task)",
        "  if it fails by error(crash) and every try fails at once:",
        "  tries at +1s, +3s, +7s",
        f"  gives up after at most 7s: {A_LIMIT}",
        "  touched with it: g/b and g/t",
        "  the counter clears after 10m of health",
    ]
    assert "  no try follows: it is temporary" in empty_world.run("explain", "restart", "t").stdout
    budget = empty_world.run("explain", "restart", "c", "--if", "oom").stdout
    assert "  no try follows: oom; its own budget of 0 restarts is used up" in budget
    facts = json.loads(empty_world.run("explain", "restart", "a", "--json").stdout)
    (segment,) = facts["segments"]
    assert segment["tries_s"] == [1, 3, 7]
    assert segment["gives_up_at_most_s"] == segment["gives_up_s"] == 7
    assert segment["limit_of"] == "p/g"


def test_what_rests_has_no_schedule(world):
    """A task that is done is not started by itself."""
    lines = world.run("explain", "restart", "ingest").stdout.splitlines()
    assert lines[1] == "  has ended, and nothing starts it by itself"


def test_a_supervisor_has_no_schedule_of_its_own(world):
    """Exit code 2, and what can be typed instead."""
    result = world.run("explain", "restart", "training")
    assert result.exit_code == 2
    assert "psup explain restart 'digits/training/*'" in result.stderr


def test_a_schedule_without_a_daemon_says_so(world):
    """What is shown holds once a daemon runs."""
    world.leave("digits", "dead")
    result = world.run("explain", "restart", "serve")
    assert result.stderr == "psup: no daemon runs digits: this holds once one does\n"


def test_an_unknown_target_is_exit_code_4(world):
    """As everywhere."""
    assert world.run("explain", "restart", "nobody").exit_code == 4


# ------------------------------------------------------------------------------------------- graph


def test_the_graph_of_a_file(world, file):
    """The tree in plain characters, with what each waits for."""
    assert world.run("graph", file).stdout.splitlines() == [
        "p                 one_for_one",
        "|-- data          rest_for_one",
        "|   |-- ingest    task",
        "|   `-- features  task          after data/ingest",
        "|-- training      one_for_one",
        "|   `-- train     task          after data/features",
        "|-- evaluate      task          after training/train",
        "`-- serve         service",
    ]


def test_the_graph_of_what_runs_has_its_states(world):
    """The same, with the words of `psup tree`."""
    lines = world.run("graph").stdout.splitlines()
    assert lines == world.run("graph", "digits").stdout.splitlines()
    assert lines[0].split() == ["digits", "one_for_one", "degraded"]
    assert [line.split()[1:4] for line in lines if "train " in line] == [
        ["`--", "train", "task"],
    ]
    assert "backoff" in next(line for line in lines if "`-- train " in line)


def test_mermaid(world, file):
    """A flowchart with a box for each supervisor and an arrow for each `after`."""
    assert world.run("graph", file, "--format", "mermaid").stdout.splitlines() == [
        "flowchart LR",
        '  subgraph n0["p (one_for_one)"]',
        '    subgraph n1["data (rest_for_one)"]',
        '      n2["ingest"]',
        '      n3["features"]',
        "    end",
        '    subgraph n4["training (one_for_one)"]',
        '      n5["train"]',
        "    end",
        '    n6["evaluate"]',
        '    n7(["serve"])',
        "  end",
        "  n2 --> n3",
        "  n3 --> n5",
        "  n5 --> n6",
    ]


def test_dot(world, file):
    """What Graphviz reads: braces match, states stand below names."""
    text = world.run("graph", file, "--format", "dot").stdout
    assert text.count("{") == text.count("}") == 4
    assert '  subgraph cluster_n1 { label="data (rest_for_one)";' in text
    assert "  n2 -> n3;" in text
    assert 'label="train\\nbackoff"' in world.run("graph", "--format", "dot").stdout


def test_graph_as_json(world, file):
    """Nodes, and who waits for whom."""
    facts = json.loads(world.run("graph", file, "--format", "json").stdout)
    assert {"from": "p/data/ingest", "to": "p/data/features"} in facts["after"]
    assert facts["nodes"][0] == {
        "path": "p",
        "parent": None,
        "kind": "supervisor",
        "strategy": "one_for_one",
        "state": None,
    }


def test_a_graph_of_nothing(world, tmp_path):
    """A file that is not there is exit code 2, a pipeline that is not there 4."""
    assert world.run("graph", str(tmp_path / "none.yaml")).exit_code == 2
    assert world.run("graph", "nobody").exit_code == 4


# -------------------------------------------------------------------------------------------- cost


@pytest.mark.parametrize(
    "line", [["graph"], ["explain", "restart", "train"]], ids=lambda one: one[0]
)
def test_looking_imports_nothing_heavy(world, line):
    """Neither Ray nor sqlite-utils nor YAML; a graph of the store needs no core either."""
    code = (
        "import sys; from supervisor.cli.main import psup\n"
        "try: psup(sys.argv[1:])\nexcept SystemExit as end: assert not end.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *line],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PSUP_HOME": str(world.home)},
    )
    assert {"ray", "sqlite_utils", "yaml", "psutil"} & set(result.stderr.split()) == set()
