"""The tree screen: what each line says, what gives way when it is narrow, and the exit code."""

# ruff: noqa: RUF001 - dashes as people print them

import json
import re

import pytest
from cli_world import ANSI, DIGITS, GIB, MIB, OOM, ROOT, service, task

from supervisor.cli.home import Home
from supervisor.cli.picture import launched, open_store, view
from supervisor.cli.render import Terminal
from supervisor.cli.tree import draw
from supervisor.core import state
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import Quota, Restart, SupervisorSpec
from supervisor.core.state import Why


def line_of(output: str, name: str) -> str:
    """Return the line of the screen that shows that node."""
    return next(line for line in output.splitlines() if re.search(rf"\b{name}\b", line))


def words_of(output: str, name: str) -> list[str]:
    """Return the cells of a node's line."""
    return re.split(r"\s{2,}", line_of(output, name).lstrip("│├└─ "))


def root_of(world, name="digits"):
    """Return the picture of a pipeline."""
    with open_store(Home(world.home)) as reader:
        row = next(row for row in launched(reader) if row.name == name)
        return view(reader, row).root


def segment(world, node_state, spec=None, **life):
    """Launch a pipeline of one segment in that state and return its line."""
    spec = spec or task("only", quota=Quota(memory_bytes=GIB))
    root = SupervisorSpec("one", children=(spec,))
    up = state.SupervisorState(state.Up(world.now_s - 60), 1)
    world.launch(root, {"one": up, "one/only": node_state})
    if life:
        world.life("one/only", node_state.incarnation, **life)
    return line_of(world.run("tree").output, "only")


def test_the_screen_of_the_readme(world):
    """One line per node: state, pid, age, restarts, memory, cpu, cause and next event."""
    result = world.run("tree")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["NODE", "STATE", "PID", "AGE", "RESTARTS", "MEMORY", "CPU", "LAST"]
    assert lines[1].split() == ["digits", "one_for_one", "degraded", "2h"]
    assert lines[2].split() == ["├─", "data", "rest_for_one", "running"]
    assert lines[3].startswith("│  ├─ ingest")
    assert words_of(result.stdout, "features")[1:] == ["done", "2h", "0", "–", "–", "completed"]
    train = words_of(result.stdout, "train")
    assert train[1:6] == ["backoff", "8s", "3/5 1h", "1.0G/1.0G kernel", "–"]
    assert re.fullmatch(r"oom \(peak 1\.0G\) → again in [78]s", train[6])
    assert words_of(result.stdout, "evaluate")[1:3] == ["done", "2m"]
    serve = words_of(result.stdout, "serve")
    assert serve[1:] == ["running", "41873", "2h", "0", "212M/512M kernel", "3%", "ready"]
    assert result.exit_code == 3
    assert result.stderr == ""


def test_columns_stand_under_their_titles(world):
    """Every cell of a column begins where its title begins."""
    header, *lines = world.run("tree").stdout.splitlines()
    column = header.index("RESTARTS")
    assert all(line[column - 1 : column] in ("", " ") for line in lines)
    assert line_of("\n".join(lines), "train")[column:].startswith("3/5 1h")


def test_a_pipe_gets_plain_text_that_is_not_cut(world):
    """No escape sequence and no ellipsis leave through a pipe, however long a line is."""
    world.sample("digits/serve", 1, memory_bytes=1, status="s" * 300)
    output = world.run("tree", env={"COLUMNS": "40"}).stdout
    assert not ANSI.search(output)
    assert "s" * 300 in output
    assert "…" not in output


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_a_terminal_is_never_overrun(world, width):
    """At any width no line is longer than the terminal, and state and cause stay."""
    lines = draw([root_of(world)], Terminal(colour=False, width=width, height=40))
    assert max(map(len, lines)) <= width
    assert "backoff" in line_of("\n".join(lines), "train")
    assert "oom" in line_of("\n".join(lines), "train")


def test_a_narrow_terminal_keeps_cause_and_next_event(world):
    """At 80 columns CPU and PID give way, not what happened and what comes."""
    lines = draw([root_of(world)], Terminal(colour=False, width=80, height=40))
    assert "CPU" not in lines[0]
    assert re.search(
        r"3/5 1h +1\.0G/1\.0G kernel +oom → again in [78]s$", line_of("\n".join(lines), "train")
    )


def test_colour_only_where_it_is_wanted(world):
    """FORCE_COLOR paints a pipe, NO_COLOR wins over it, and the words are the same."""
    plain = world.run("tree").stdout
    painted = world.run("tree", env={"FORCE_COLOR": "1"}).stdout
    assert "\x1b[33mbackoff\x1b[0m" in painted
    assert world.run("tree", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout == plain
    strip = re.compile(r"\x1b\[[0-9;]*m")
    assert [line.split() for line in strip.sub("", painted).splitlines()] == [
        line.split() for line in plain.splitlines()
    ]


def test_all_well_is_exit_code_0(empty_world):
    """Finished tasks and a person's stop are healthy."""
    now_s = empty_world.now_s
    up = state.SupervisorState(state.Up(now_s - 9), 1)
    spec = SupervisorSpec("well", children=(task("a"), service("b"), service("c")))
    ended = state.SegmentState(state.Ended(now_s, state.Ending.COMPLETED), 1)
    stopped = state.SegmentState(state.Idle(), 1, wanted=False)
    running = state.SegmentState(state.Running(now_s), 1)
    empty_world.launch(spec, {"well": up, "well/a": ended, "well/b": running, "well/c": stopped})
    result = empty_world.run("tree")
    assert result.exit_code == 0
    assert "stop requested → until psup start" in line_of(result.output, "c")


def test_a_segment_that_gave_up_is_exit_code_5(world):
    """Giving up inside a branch shows in the code of the whole tree."""
    world.put(
        "digits/training/train",
        state.SegmentState(
            state.Ended(world.now_s, state.Ending.GAVE_UP),
            3,
            restarts=(world.now_s,) * 6,
            restart_count=6,
            last_exit=OOM,
        ),
    )
    result = world.run("tree")
    assert result.exit_code == 5
    assert line_of(result.output, "train").endswith(
        "oom (peak 1.0G) → stays down: 5 restarts in 1h used up"
    )


def test_a_dead_daemon_is_said_on_stderr_and_in_json(world):
    """What was saved is shown, with a warning beside it and daemon_pid null."""
    world.leave("digits", "dead")
    result = world.run("tree")
    assert result.exit_code == 3
    assert "serve" in result.stdout
    assert "no daemon" in result.stderr
    assert "psup launch digits/pipeline.yaml" in result.stderr
    facts = json.loads(world.run("tree", "--json").stdout)
    assert facts["pipelines"][0]["daemon_pid"] is None


def test_a_pipeline_that_is_down_says_so(world):
    """After `down` the tree still shows what is known, as stopped, and exits with 3."""
    world.put("digits", state.SupervisorState(state.Down()))
    world.put("digits/serve", state.SegmentState(state.Idle(), 1))
    gave_up = state.Ended(world.now_s, state.Ending.GAVE_UP)
    world.put("digits/training/train", state.SegmentState(gave_up, 3))
    world.save("digits", pipeline_state="down")
    world.leave("digits", "gone")
    result = world.run("tree")
    assert result.exit_code == 3
    assert words_of(result.stdout, "serve")[1] == "stopped"
    assert "the pipeline is down" in line_of(result.stdout, "serve")
    assert "digits is down" in result.stderr


def test_nothing_launched_yet_says_what_to_type(empty_world):
    """An empty home is exit code 7 and a friendly word, not an empty screen."""
    result = empty_world.run("tree")
    assert result.exit_code == 7
    assert result.stdout == ""
    assert "psup launch FILE" in result.stderr


def test_pipelines_that_are_down_are_left_out_beside_live_ones(world):
    """`tree` is about what runs; --all, or a name, shows the others."""
    world.launch(SupervisorSpec("old"), daemon="gone", pipeline_state="down")
    assert "old" not in world.run("tree").stdout
    assert "old" in world.run("tree", "--all").stdout
    assert "old" in world.run("tree", "old").stdout


def test_a_target_shows_its_branch_with_what_is_above(world):
    """The branch keeps its place in the tree; its neighbours are left out."""
    names = [
        re.split(r"\s{2,}", line.strip("│├└─ "))[0]
        for line in world.run("tree", "training").stdout.splitlines()[1:]
    ]
    assert names == ["digits", "training", "train"]


def test_fresh_memory_comes_from_the_control_group(world, tmp_path):
    """While a life runs, its memory is what the kernel says now, without idle file cache."""
    (tmp_path / "memory.usage_in_bytes").write_text(f"{300 * MIB}\n")
    (tmp_path / "memory.stat").write_text(f"cache 1\ntotal_inactive_file {100 * MIB}\n")
    world.life("digits/serve", 1, evidence={"cgroup": str(tmp_path)})
    assert "200M/512M kernel" in line_of(world.run("tree").stdout, "serve")


def test_a_measurement_of_long_ago_is_not_shown(world):
    """What a body used three minutes ago says nothing about now."""
    world.put("digits/evaluate", state.SegmentState(state.Running(world.now_s - 999), 2))
    world.life("digits/evaluate", 2, started_s=world.now_s - 999)
    world.sample("digits/evaluate", 2, at_s=world.now_s - 180, memory_bytes=MIB, cpu_cores=1.0)
    assert words_of(world.run("tree").stdout, "evaluate")[4:6] == ["–", "–"]


def test_a_measurement_of_the_life_before_is_not_shown(world):
    """A new life begins with nothing known."""
    world.life("digits/serve", 2, started_s=world.now_s)
    world.put("digits/serve", state.SegmentState(state.Running(world.now_s), 2))
    assert words_of(world.run("tree").stdout, "serve")[4:6] == ["–/512M", "–"]


def test_quotas_that_nobody_holds_are_said(empty_world):
    """An unenforced quota is shown as such, never silently."""
    line = segment(
        empty_world,
        state.SegmentState(state.Running(empty_world.now_s), 1),
        task("only", quota=Quota(memory_bytes=GIB, cpu_cores=1, processes=9, disk_bytes=1)),
        pid=7,
        evidence={
            "enforcement": {"memory": "none", "cpu": "none", "processes": "none", "disk": "sampled"}
        },
    )
    assert "1.0G NOT HELD" in line
    assert "– NOT HELD" in line
    assert line.endswith("processes NOT HELD")


@pytest.mark.parametrize(
    ("node_state", "told"),
    [
        (state.Waiting, "waits for its supervisor"),
        (lambda now: state.Starting(now, now + 59.5), "not ready yet → start timeout in 1m"),
        (lambda now: state.Running(now, now + 3599.5), "time quota ends it in 1h"),
        (
            lambda now: state.Stopping(now, now + 9.5, Why.USER_STOP),
            "stop requested → killed in 10s",
        ),
        (
            lambda now: state.Stopping(now, None, Why.GROUP),
            "restarts with its group → no time limit to go",
        ),
        (
            lambda now: state.Killing(now, now + 4.5, Why.HANG),
            "no sign of life → killed again in 5s",
        ),
        (lambda now: state.BackingOff(now, now - 1), "again now"),
        (lambda now: state.Idle(), "not its turn yet"),
        (
            lambda now: state.Ended(now, state.Ending.DROPPED),
            "stopped with its group → stays down: transient",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_phase_has_a_cause_and_its_deadline(empty_world, node_state, told):
    """Every armed deadline stands on the line with what it brings."""
    line = segment(empty_world, state.SegmentState(node_state(empty_world.now_s), 1))
    assert line.endswith(told)


def test_a_failure_that_is_not_retried_says_why(empty_world):
    """`never_on` is named as the reason, not the limit."""
    line = segment(
        empty_world,
        state.SegmentState(
            state.Ended(empty_world.now_s, state.Ending.GAVE_UP),
            1,
            last_exit=ExitReason(ExitKind.ERROR, "ValueError: bad\nsecond line"),
        ),
        task("only", never_on=frozenset({"ValueError"})),
    )
    assert line.endswith("error(ValueError: bad) → stays down: never_on says not to retry")


def test_a_waiting_segment_names_what_it_waits_for(empty_world):
    """Only what is not there yet is named; a service is there when it runs."""
    now_s = empty_world.now_s
    after = tuple(f"one/{name}" for name in ("done", "ready", "busy", "coming"))
    spec = SupervisorSpec(
        "one",
        children=(
            task("done"),
            service("ready"),
            task("busy"),
            service("coming"),
            task("only", after=after),
        ),
    )
    states = {
        "one": state.SupervisorState(state.Up(now_s), 1),
        "one/done": state.SegmentState(state.Ended(now_s, state.Ending.COMPLETED), 1),
        "one/ready": state.SegmentState(state.Running(now_s), 1),
        "one/busy": state.SegmentState(state.Running(now_s), 1),
        "one/coming": state.SegmentState(state.Starting(now_s, now_s + 9), 1),
        "one/only": state.SegmentState(state.Waiting(now_s)),
    }
    empty_world.launch(spec, states)
    assert line_of(empty_world.run("tree").stdout, "only").endswith("waits for busy and coming")


def test_a_running_segment_tells_its_progress_and_its_past(world):
    """The body's own words come first, then what happened before."""
    world.put(
        "digits/training/train",
        state.SegmentState(
            state.Running(world.now_s), 4, restarts=(world.now_s,), restart_count=1, last_exit=OOM
        ),
    )
    world.life("digits/training/train", 4, started_s=world.now_s, pid=5)
    world.sample(
        "digits/training/train", 4, progress_done=7.0, progress_total=20.0, status="ep\x1b[2Joch"
    )
    assert line_of(world.run("tree").stdout, "train").endswith("7/20, epoch, after oom (peak 1.0G)")


def test_a_supervisor_tells_what_it_waits_for(world):
    """A supervisor that goes down names the child and its deadline."""
    now_s = world.now_s
    world.put("digits", state.SupervisorState(state.GoingDown(now_s, 3, Why.SHUTDOWN), 1))
    world.put(
        "digits/serve", state.SegmentState(state.Stopping(now_s, now_s + 8.5, Why.SHUTDOWN), 1)
    )
    line = world.run("tree").stdout.splitlines()[1]
    assert line.endswith("down requested → waits for serve, killed in 9s")


def test_a_group_restart_holds_off_until(world):
    """While a group is held back, the line says until when."""
    now_s = world.now_s
    world.put("digits/data", state.SupervisorState(state.Recycling(now_s, 0, 0, now_s + 3.5), 1))
    data = words_of(world.run("tree").stdout, "data")
    assert data[1:] == ["rest_for_one", "restarting", "0s", "restarts a group → again in 4s"]


def test_a_pipeline_that_failed_says_that_the_healthy_go_on(world):
    """The root's give-up is on its line, and is exit code 5."""
    world.put("digits", state.SupervisorState(state.Up(world.now_s), 1, failed=True))
    result = world.run("tree")
    assert result.exit_code == 5
    assert result.stdout.splitlines()[1].endswith(
        "gave up: 5 restarts in 60s used up → what is healthy goes on"
    )


def test_a_branch_that_gave_up_stays_down(world):
    """What lies below says that its supervisor gave up."""
    world.put(
        "digits/training",
        state.SupervisorState(state.SupervisorEnded(world.now_s, state.Ending.GAVE_UP), 1),
    )
    world.put("digits/training/train", state.SegmentState(state.Idle(), 3))
    output = world.run("tree").stdout
    assert words_of(output, "training")[2] == "gave_up"
    assert line_of(output, "train").endswith("training gave up")


def test_restarts_without_an_own_budget_are_the_supervisors(empty_world):
    """The supervisor's window counts, and attempts that wait count as well."""
    now_s = empty_world.now_s
    spec = SupervisorSpec("one", children=(task("only"), task("quiet")), max_restarts=5)
    backing_off = state.SegmentState(
        state.BackingOff(now_s, now_s + 9), 3, streak=3, restart_count=9, last_exit=OOM
    )
    up = state.SupervisorState(state.Up(now_s - 60), 1, restarts=(now_s - 300, now_s - 1))
    empty_world.launch(spec, {"one": up, "one/only": backing_off})
    output = empty_world.run("tree").stdout
    assert "3/5 60s" in line_of(output, "only")
    assert words_of(output, "quiet")[2] == "0"
    assert "1/5 60s" in line_of(output, "one_for_one")


def test_json_has_the_documented_shape(world):
    """The versioned shape, nested, with UTC times and nothing of the environment."""
    output = world.run("tree", "--json").stdout
    facts = json.loads(output)
    assert facts["schema_version"] == 1
    (root,) = facts["pipelines"]
    assert root["daemon_pid"] is not None
    assert [child["name"] for child in root["children"]] == [
        "data",
        "training",
        "evaluate",
        "serve",
    ]
    train = root["children"][1]["children"][0]
    needed = {
        "path", "kind", "state", "pid", "node", "incarnation", "restarts", "quota", "usage",
        "enforcement", "last_exit", "next", "children",
    }  # fmt: skip
    assert needed <= set(train)
    assert train["path"] == "digits/training/train"
    assert train["restarts"] == {
        "count": 3, "used": 3, "allowed": 5, "window_s": 3600.0, "of": "segment",
    }  # fmt: skip
    assert train["quota"] == {"memory_bytes": GIB, "cpu_cores": 1.0}
    assert train["last_exit"]["kind"] == "oom"
    assert train["last_exit"]["peak_memory_bytes"] == GIB
    assert train["next"]["what"] == "restart"
    assert 0 < train["next"]["in_s"] <= 7.7
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", train["next"]["at"])
    serve = root["children"][3]
    assert (serve["pid"], serve["ports"]) == (41873, {"http": 43121})
    assert "hunter2" not in output
    assert "at_s" not in output


def test_every_key_of_the_json_is_documented(world):
    """docs/json.md names every key that `tree --json` prints."""
    text = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    facts = json.loads(world.run("tree", "--json").stdout)

    def keys(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield key
                if key not in ("quota", "enforcement", "ports", "notes"):
                    yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    missing = {key for key in keys(facts) if f"`{key}`" not in text}
    assert missing == set()
    assert Restart.TEMPORARY in DIGITS.children[1].restart
