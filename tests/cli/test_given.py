"""What a person is told of rules by cause, of gifts to one life, of storms and finished work."""

import json
from dataclasses import replace

import pytest

from supervisor.core import state
from supervisor.core.actions import Report, ReportCode
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import (
    Adjustments,
    AutoShutdown,
    Body,
    Grow,
    Kind,
    OnExit,
    Quota,
    RestartRate,
    SegmentSpec,
    SupervisorSpec,
)
from supervisor.runtime.recording import journal_action

GIB = 2**30
OOM = ExitReason(ExitKind.OOM)


def part(output, title):
    """The lines below a title of `psup why`."""
    below = output.split(f"{title}\n")[1].split("\n\n")[0]
    return [" ".join(line.split()) for line in below.splitlines()]


TRAIN = SegmentSpec(
    "train",
    quota=Quota(memory_bytes=GIB),
    body=Body(run="m:f", env={"BATCH": "64"}),
    significant=True,
    on_exit=(
        OnExit("oom", tries=3, grow=Grow("memory_bytes", 1.5, 6.0 * GIB), env={"BATCH": "half"}),
        OnExit("exit[42]", retries=False),
    ),
)
SPEC = SupervisorSpec(
    "p",
    (TRAIN, SegmentSpec("serve", kind=Kind.SERVICE)),
    auto_shutdown=AutoShutdown.ALL_SIGNIFICANT,
    restart_rate=RestartRate(20, 2.0),
)


@pytest.fixture
def told(empty_world):
    """Return what a command says of `train` in a given state."""

    def tell(train, *command, root=None):
        now_s = empty_world.now_s
        up = root or state.SupervisorState(state.Up(now_s - 60), 1)
        running = state.SegmentState(state.Running(now_s - 60), 1)
        empty_world.launch(SPEC, {"p": up, "p/train": train, "p/serve": running})
        return empty_world.run(*command).stdout

    tell.world = empty_world
    return tell


def backing_off(now_s, **facts):
    phase = state.BackingOff(now_s - 1, now_s + 7.5)
    return state.SegmentState(phase, 2, last_exit=OOM, restart_count=2, **facts)


def test_why_says_what_the_next_attempt_gets(told):
    """Quota and variables of the next try, and how many tries are left of which cause."""
    train = backing_off(told.world.now_s, tries=(("oom", 2),))
    (line,) = part(told(train, "why", "train"), "What happens next")
    assert line == (
        "starts again in 8s with memory 2.2G and BATCH halved 2 times, attempt 3;"
        " try 2 of 3 after oom; 1 more, then it gives up, alone"
    )


def test_tree_shows_the_quota_that_holds(told):
    """The limit beside the usage is that of the life, not that of the file."""
    running = state.SegmentState(state.Running(told.world.now_s), 2, tries=(("oom", 1),))
    drawn = json.loads(told(running, "tree", "--json"))
    (train, serve) = drawn["pipelines"][0]["children"]
    assert train["quota"] == {"memory_bytes": 1.5 * GIB}
    assert serve["quota"] == {}


def test_tree_shows_a_finished_life_beside_its_own_limit(told):
    """In the backoff the peak is that of the life before, and so is the limit."""
    train = backing_off(told.world.now_s, tries=(("oom", 2),))
    told(train, "tree")
    quota = {"memory_bytes": int(1.5 * GIB)}
    told.world.life("p/train", 2, started_s=1.0, ended_s=2.0, evidence={"quota": quota})
    drawn = json.loads(told.world.run("tree", "--json").stdout)
    assert drawn["pipelines"][0]["children"][0]["quota"] == quota


def test_why_says_what_a_person_gave(told):
    """Only while that life lives."""
    once = Adjustments({"memory_bytes": 3 * GIB}, {"BATCH": "64"})
    given = state.SegmentState(
        state.Running(told.world.now_s), 4, tries=(("oom", 1),), once=once, once_for=4
    )
    assert "memory 3.0G and BATCH as asked for" in told(given, "show", "train")


def test_a_gift_to_an_earlier_life_is_not_told(told):
    """It is over with the life that it was for."""
    once = Adjustments({"memory_bytes": 3 * GIB}, {"BATCH": "64"})
    later = state.SegmentState(state.Running(told.world.now_s), 5, once=once, once_for=4)
    assert "as asked for" not in told(later, "show", "train")


@pytest.mark.parametrize(
    ("reason", "tries", "said"),
    [
        (OOM, (("oom", 3),), "stays down: 3 tries after oom used up"),
        (ExitReason(ExitKind.EXIT, "42"), (), "stays down: on_exit says not to retry"),
    ],
)
def test_why_says_which_rule_ended_it(told, reason, tries, said):
    """Not the supervisor's limit, which was not asked."""
    ended = state.Ended(told.world.now_s, state.Ending.GAVE_UP)
    train = state.SegmentState(ended, 3, last_exit=reason, tries=tries)
    assert said in told(train, "tree")


def test_show_lists_the_rules(told):
    """Every cause on a line, as a person would say it."""
    said = told(state.SegmentState(), "show", "train")
    assert "oom: 3 tries, memory x1.5 up to 6.0G, BATCH half" in said
    assert "exit[42]: gives up" in said
    of_root = told(state.SegmentState(), "show", "p")
    assert "20 restarts at once, then 2 a second" in of_root
    assert "all_significant" in of_root


def test_why_names_the_storm(told):
    """A restart that waits for its turn says so, and for how long."""
    world = told.world
    train = replace(backing_off(world.now_s), streak=1)
    told(train, "why", "train")
    text = "restart storm: 40 restarts in 3.0s; this one waits 4.0s more"
    report = journal_action(Report(ReportCode.RESTART_STORM, "p/train", text))
    world.journal("p/train", report, ago_s=0.5)
    lines = part(world.run("why", "train").stdout, "What happens next")
    assert lines[1] == text


def test_finished_pipeline_is_done(told):
    """It has not given up, and what it stopped says why it does not run."""
    now_s = told.world.now_s
    finished = state.SupervisorState(
        state.SupervisorEnded(now_s, state.Ending.COMPLETED),
        1,
        last_exit=ExitReason(ExitKind.COMPLETED),
    )
    done = state.SegmentState(state.Ended(now_s, state.Ending.COMPLETED), 1)
    said = told(done, "tree", root=finished)
    assert "its significant children have completed" in said
    assert "gave up" not in said
    assert part(told.world.run("why", "p").stdout, "What happens next") == [
        "nothing: it has finished"
    ]
