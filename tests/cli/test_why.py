"""The story of a node: evidence, what is next, who was touched, and what to type."""

import json

import pytest
from cli_world import COMPLETED, DIGITS, GIB, OOM, done, service, task

from supervisor.core import state
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import Restart, SupervisorSpec
from supervisor.runtime.ports import JournalEntry

TRAIN = "digits/training/train"


def part(output, title):
    """Return the lines below a heading."""
    lines = output.splitlines()
    begin = lines.index(title) + 1
    end = next((at for at in range(begin, len(lines)) if not lines[at].strip()), len(lines))
    return [line.strip() for line in lines[begin:end]]


def exited(path, incarnation, kind="oom"):
    return JournalEntry(
        "event",
        "Exited",
        path,
        {"incarnation": incarnation, "reason": {"kind": kind, "detail": ""}},
    )


def test_an_out_of_memory_is_told_with_its_evidence(world):
    """Peak against quota, who held it, the kernel's count, and the last lines of the log."""
    happened = part(world.run("why", "train").stdout, "What happened")
    assert happened[0].startswith("life 3 ended ")
    assert happened[0].endswith("ago: oom (peak 1.0G)")
    assert "ran 20s, pid 41003, ended by SIGKILL" in happened
    assert (
        "memory: peak 1.0G of a quota of 1.0G, held by the kernel; "
        "the kernel killed 1 process of it"
    ) in happened
    assert happened[happened.index("last lines of its log:") + 1 :][:2] == [
        "epoch 4 loss 0.21",
        "epoch 5 loss 0.19",
    ]
    assert [line for line in happened if line.startswith("before that, life 2")]


def test_what_is_next_counts_the_restarts_that_are_left(world):
    """The attempt, its time, the limit and what giving up would mean."""
    (line,) = part(world.run("why", "train").stdout, "What happens next")
    assert line.startswith("starts again in ")
    assert line.endswith(
        "attempt 4; after it 2 more restarts within 1h allowed, "
        "then it gives up and stays down, alone"
    )


def test_what_to_type_can_be_typed(world):
    """Commands use the shortest name that means the node; people and places come last."""
    lines = part(world.run("why", "train").stdout, "What to type")
    assert lines[0].split("  ")[0] == "psup logs train --previous"
    assert [line for line in lines if line.startswith("edit digits/pipeline.yaml")]
    assert [line for line in lines if line.startswith("https://runbooks.example/train")]
    assert [line for line in lines if line.startswith("ask ml-team")]
    shown = world.run(*lines[1].split("  ")[0].split()[1:2], "--help")
    assert shown.exit_code == 0


def test_a_healthy_node_says_so(world):
    """No failure is invented where there is none."""
    output = world.run("why", "serve").stdout
    assert part(output, "What happened") == ["ready; running for 2h (life 1, pid 41873)"]
    assert part(output, "What happens next") == [
        "nothing is due; if it ends, it is started again after 1s"
    ]


def test_without_targets_everything_that_ails_is_told(world):
    """`psup why` alone needs no name; when all is well it says that."""
    assert world.run("why").stdout.startswith(TRAIN)
    world.put(TRAIN, done(world.now_s, 3))
    assert world.run("why").stdout.startswith("nothing is wrong")


def test_a_failure_with_an_exception_shows_the_end_of_its_traceback(world):
    """The traceback's end is quoted, without what could move the cursor."""
    world.put(
        TRAIN,
        state.SegmentState(
            state.Ended(world.now_s, state.Ending.FAILED),
            4,
            last_exit=ExitReason(ExitKind.ERROR, "ValueError: no labels"),
        ),
    )
    world.life(
        TRAIN,
        4,
        started_s=world.now_s - 2,
        ended_s=world.now_s,
        pid=9,
        reason_kind="error",
        reason_detail="ValueError: no labels",
        evidence={
            "exit_code": 1,
            "traceback": "Traceback:\n  File 'a.py'\nValueError: no\x1b[2J labels\n",
        },
    )
    happened = part(world.run("why", "train").stdout, "What happened")
    assert happened[0].endswith("error(ValueError: no labels)")
    assert "ran 2s, pid 9, exit code 1" in happened
    assert happened[happened.index("traceback:") + 3] == "ValueError: no labels"


def test_a_waiting_node_tells_on_what_and_how_that_stands(world):
    """The awaited node is named with its state, and is what to ask about next."""
    world.put(
        "digits/data/ingest", state.SegmentState(state.Starting(world.now_s, world.now_s + 9), 2)
    )
    world.put("digits/data/features", state.SegmentState(state.Waiting(world.now_s)))
    output = world.run("why", "features").stdout
    (line,) = part(output, "What happens next")
    assert line.startswith("starts when ingest has completed (starting: not ready yet")
    assert part(output, "What to type")[0].startswith("psup why ingest")


def test_nobody_was_touched_names_who_went_on(world):
    """Siblings that kept their process through the failure are named with their pids."""
    world.journal(TRAIN, exited(TRAIN, 3), ago_s=7.9)
    assert part(world.run("why", "train").stdout, "Who else was touched") == [
        "nobody; serve (pid 41873) went on in the same process"
    ]


def test_a_group_restart_names_whom_it_took_along(world):
    """Stops that followed a group restart are read from the journal."""
    data = "digits/data"
    world.life(f"{data}/ingest", 1, ended_s=world.now_s - 5, reason_kind="exit")
    world.put(
        f"{data}/ingest",
        state.SegmentState(
            state.Running(world.now_s), 2, restart_count=1, last_exit=ExitReason(ExitKind.EXIT, "1")
        ),
    )
    world.life(f"{data}/ingest", 2, started_s=world.now_s)
    world.journal(
        data,
        exited(f"{data}/ingest", 1, "exit"),
        JournalEntry("report", "group_restart", data, {"text": "from ingest on"}),
        ago_s=4.9,
    )
    world.journal(
        data,
        JournalEntry("action", "Stop", f"{data}/features", {"incarnation": 1}),
        JournalEntry("action", "Stop", "digits/serve", {"incarnation": 1}),
        ago_s=4.0,
    )
    assert part(world.run("why", "ingest").stdout, "Who else was touched") == [
        "data: from ingest on",
        "stopped with it: features",
    ]


def test_a_later_group_restart_is_not_blamed_on_this_failure(world):
    """Only what was decided in the step that heard of the end counts."""
    world.journal(TRAIN, exited(TRAIN, 3), ago_s=7.9)
    world.journal(
        "digits", JournalEntry("report", "group_restart", "digits", {"text": "x"}), ago_s=2.0
    )
    assert part(world.run("why", "train").stdout, "Who else was touched")[0].startswith("nobody")


def test_a_stop_tells_when_it_was_asked_for(world):
    """A person's stop is remembered as one."""
    world.journal(
        "digits/serve", JournalEntry("event", "StopRequested", "digits/serve", {}), ago_s=65
    )
    world.put("digits/serve", state.SegmentState(state.Idle(), 1, wanted=False))
    world.life("digits/serve", 1, ended_s=world.now_s, reason_kind="stopped")
    output = world.run("why", "serve").stdout
    assert part(output, "What happened")[0] == "psup stop was asked for 1m ago"
    assert part(output, "What to type")[0].startswith("psup start serve")


def test_a_supervisor_tells_its_limit_and_who_failed(world):
    """The window, the ailing children, and the core's own reports."""
    world.journal(
        TRAIN, JournalEntry("report", "restart_scheduled", TRAIN, {"text": "oom; again in 8s"})
    )
    output = world.run("why", "training").stdout
    happened = part(output, "What happened")
    assert happened[0] == "train is in backoff: oom (peak 1.0G)"
    assert happened[1].endswith("train: oom; again in 8s")
    (line,) = part(output, "What happens next")
    assert line == (
        "0 of 5 restarts in 60s used; with one too many training gives up and stays down; "
        "nothing beside it is touched"
    )


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (DIGITS, "it stays down and the pipeline has failed; what is healthy goes on"),
        (
            SupervisorSpec("digits", strategy="rest_for_one", children=DIGITS.children),
            "the whole of digits goes down",
        ),
    ],
)
def test_the_fate_of_a_root_depends_on_its_strategy(empty_world, spec, told):
    """Losing serving to a training failure happens only where somebody asked for it."""
    empty_world.launch(spec, {"digits": state.SupervisorState(state.Up(empty_world.now_s), 1)})
    assert told in empty_world.run("why", "digits").stdout


def test_json_carries_lives_and_evidence(world):
    """Everything that is printed, and the raw evidence."""
    (node,) = json.loads(world.run("why", "train", "--json").stdout)["nodes"]
    assert node["lives"][0]["evidence"]["peak_memory_bytes"] == GIB
    assert node["lives"][0]["reason"]["kind"] == "oom"
    assert {"command", "meaning"} == set(node["advice"][0])
    assert node["node"]["path"] == TRAIN


def test_without_a_daemon_only_what_works_is_advised(world):
    """Nothing that needs a daemon is proposed when there is none."""
    world.leave("digits", "dead")
    lines = part(world.run("why", "train").stdout, "What to type")
    assert not [line for line in lines if "restart" in line]
    assert [line for line in lines if line.startswith("psup launch digits/pipeline.yaml")]


def test_the_limit_of_the_supervisor_is_told_for_a_segment_without_one(empty_world):
    """A bulkhead's give-up is named with what it means."""
    now_s = empty_world.now_s
    branch = SupervisorSpec("branch", children=(task("only"),), restart=Restart.TEMPORARY)
    spec = SupervisorSpec("one", children=(branch, service("beside")))
    up = state.SupervisorState(state.Up(now_s - 60), 1, restarts=(now_s,))
    only = state.SegmentState(
        state.BackingOff(now_s, now_s + 9), 1, streak=1, restart_count=1, last_exit=OOM
    )
    empty_world.launch(spec, {"one": up, "one/branch": up, "one/branch/only": only})
    (line,) = part(empty_world.run("why", "only").stdout, "What happens next")
    assert line.endswith(
        "after it 4 more restarts within 1m allowed, "
        "then branch gives up and stays down; nothing beside it is touched"
    )
    assert COMPLETED.kind == "completed"
