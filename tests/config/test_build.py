"""From a whole file to a whole spec, and the rules that involve several keys or nodes."""

import pytest
from config_world import one_segment

from supervisor.config.causes import LOST
from supervisor.core.spec import (
    Backoff,
    Body,
    Budget,
    Criticality,
    Grow,
    Health,
    Kind,
    Notes,
    OnExit,
    Probe,
    Quota,
    Restart,
    RestartRate,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)


@pytest.fixture
def example(load_text, example_text):
    return load_text(example_text)


def test_the_example_becomes_the_tree_it_declares(example, folder):
    """Names, order, strategies, limits and notes of every supervisor."""
    root = example.spec
    batch, serve, watch = root.children
    assert (root.name, root.strategy, root.max_restarts, root.max_seconds) == (
        "example", Strategy.REST_FOR_ONE, 7, 120.0,
    )  # fmt: skip
    assert root.notes == Notes("data", "https://runbooks.example/example", "Every key once.")
    assert isinstance(batch, SupervisorSpec)
    assert (batch.strategy, batch.max_restarts, batch.max_seconds) == (
        Strategy.ONE_FOR_ALL, 2, 90.0,
    )  # fmt: skip
    assert (batch.restart, batch.backoff) == (Restart.TEMPORARY, Backoff(first_s=2.0, max_s=4.0))
    assert [child.name for child in batch.children] == ["ingest", "train"]
    assert (serve.name, watch.name) == ("serve", "watch")
    assert example.file == folder / "pipeline.yaml"
    assert example.folder == folder


def test_the_example_becomes_the_segments_it_declares(example, folder):
    """Every key of a segment arrives where it belongs."""
    batch, serve, watch = example.spec.children
    assert batch.children[1] == SegmentSpec(
        name="train",
        kind=Kind.TASK,
        restart=Restart.TRANSIENT,
        after=("example/batch/ingest",),
        start_timeout_s=90.0,
        backoff=Backoff(0.25, 3.0, 30.0, 0.5, 300.0),
        budget=Budget(4, None),
        never_on=frozenset({"ValueError", "3"}),
        shutdown=Shutdown(None, "SIGINT"),
        quota=Quota(2**31, 0.5, 64, 1024, 1_500_000_000, 5400.0, 0.5, 10 * 2**20),
        health=Health(None, Probe("notify", period_s=10.0, timeout_s=7.0, failures=9)),
        criticality=Criticality.BEST_EFFORT,
        body=Body(
            command=("python3", "train.py", "010"),
            folder=str(folder / "work"),
            env={"BATCH": "32", "REGION": "eu west", "SWITCH": "on"},
            params={"rate": 0.01, "layers": [64, 32], "name": "adam"},
        ),
        policy="house",
        notes=Notes("ml", "train.md", "Learns."),
        significant=True,
        on_exit=(
            OnExit("oom", True, 2, Grow("memory_bytes", 1.5, 6.0 * 2**30), {"BATCH": "half"}),
            OnExit("hang", grow=Grow("cpu_cores", 2.0)),
            OnExit("deadline", grow=Grow("time_s", 1.25, 10800.0)),
            OnExit("exit", grow=Grow("processes", 2.0, 100.0)),
            OnExit("quota[disk]", grow=Grow("disk_bytes", 2.0, 9e9)),
            OnExit("error[KeyError]", retries=False),
            LOST,
        ),
    )
    assert serve.health == Health(
        Probe("http", "/healthz", "admin", (), 1.0, 0.5, 5), Probe("tcp", port="http")
    )
    assert serve.body.ports == {"http": 0, "admin": 8081}
    assert serve.after == ("example/batch/ingest", "example/batch/train")
    assert watch.health.ready == Probe("exec", argv=("true",))
    assert watch.shutdown == Shutdown(grace_s=0.0)


def test_what_is_left_out_has_the_specs_own_defaults(load_text, folder):
    """A minimal task is `SegmentSpec` as it comes, in the file's folder."""
    loaded = load_text(one_segment("run: steps:ingest"))
    body = Body(run="steps:ingest", folder=str(folder))
    expected = SegmentSpec("s", body=body, on_exit=(LOST,))
    assert loaded.spec == SupervisorSpec("p", (expected,), restart_rate=RestartRate())
    assert loaded.warnings == ()


def test_a_service_is_permanent_unless_it_says_otherwise(load_text):
    """The default restart type depends on the kind."""
    for lines, restart in (
        ("kind: task", Restart.TRANSIENT),
        ("kind: service", Restart.PERMANENT),
        ("kind: service\nrestart: temporary", Restart.TEMPORARY),
        ("kind: service\nrestart: {max_restarts: 3}", Restart.PERMANENT),
    ):
        loaded = load_text(one_segment(f"run: steps:ingest\n{lines}"))
        assert loaded.spec.children[0].restart is restart


def test_a_probe_of_http_brings_its_port_along(load_text):
    """`ready: {http: ...}` without ports means one free port of that name."""
    loaded = load_text(one_segment("run: steps:serve\nready: {http: /ok}"))
    assert loaded.spec.children[0].body.ports == {"http": 0}


def test_variables_may_stand_for_anything(load_text):
    """In texts, in numbers, in quotes, in lists; a quoted variable may be a number."""
    (segment,) = load_text(
        one_segment(
            'run: steps:ingest\nquota: {cpu: "${CORES:-2}", memory: "${MB:-64}MiB"}\n'
            'restart: {max_restarts: "${N:-3}"}\nowner: ${HOME}\n'
            'params: {n: "${N:-3}", cost: $$5, list: ["${HOME}/x"]}'
        )
    ).spec.children
    assert (segment.quota.cpu_cores, segment.quota.memory_bytes) == (2.0, 2**26)
    assert (segment.budget, segment.notes.owner) == (Budget(3), "/home/ann")
    assert segment.body.params == {"n": "3", "cost": "$5", "list": ["/home/ann/x"]}


def test_a_plain_variable_in_params_is_read_as_if_it_were_typed(load_text):
    """`n: ${N:-3}` without quotes is the number 3."""
    (segment,) = load_text(
        one_segment("run: steps:ingest\nparams:\n  n: ${N:-3}\n  t: ${T:-true}")
    ).spec.children
    assert segment.body.params == {"n": 3, "t": True}


def test_x_keys_are_skipped_wherever_keys_are_known(load_text):
    """At the top, in nodes and in mappings below them."""
    loaded = load_text(
        "x-a: {anything: [1, {}]}\n" + one_segment("run: steps:ingest\nx-b: 1\nquota: {x-c: 2}")
    )
    assert loaded.spec.children[0].quota == Quota()


def test_dollar_names_are_taken_as_they_stand_with_a_warning(load_text):
    """`$HOME` is not replaced, and the person is told how it would be."""
    loaded = load_text(one_segment("command: [echo, $HOME]"))
    assert loaded.spec.children[0].body.command == ("echo", "$HOME")
    assert "`${HOME}`" in loaded.warnings[0].suggestion


WARNINGS = {
    "a permanent task": ("run: steps:ingest\nrestart: permanent", "a permanent task runs again"),
    "a module that is not there": ("run: stepz:ingest", "no module `stepz`"),
    "a function that is not there": ("run: steps:ingst", "defines no `ingst`"),
    "a program that is not there": ("command: [no-such-program-x]", "no program"),
    "a reserved variable": ("run: steps:ingest\nenv: {PSUP_PATH: x}", "the program's own"),
    "a limit that is never reached": (
        "run: steps:ingest\nrestart: {max_restarts: 5, max_seconds: 10s}", "is never reached",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_what_is_probably_not_meant_is_a_warning(load_text, name):
    """The pipeline loads; the warning has a place."""
    lines, message = WARNINGS[name]
    (warning,) = load_text(one_segment(lines)).warnings
    assert message in str(warning)
    assert warning.mark.line > 3


def test_a_limit_that_can_be_reached_is_no_warning(load_text):
    """Five restarts of 1s, 2s, 4s... within ten minutes are possible."""
    lines = "run: steps:ingest\nrestart: {max_restarts: 5, max_seconds: 10m}"
    assert load_text(one_segment(lines)).warnings == ()


def test_a_bare_number_is_seconds_only_where_the_name_says_so(load_text, problems_of):
    """`max_seconds: 60` is allowed, `start_timeout: 60` is not."""
    lines = "run: steps:ingest\nrestart: {max_restarts: 1, max_seconds: 60}"
    assert load_text("max_seconds: 30\n" + one_segment(lines)).spec.max_seconds == 30.0
    (problem,) = problems_of(one_segment("run: steps:ingest\nstart_timeout: 60"))
    assert problem.suggestion == "`60s`"


def test_after_takes_siblings_paths_and_supervisors(load_text):
    """Every way of naming, without doubles, in the order of the list."""
    loaded = load_text(
        """
pipeline: p
children:
  a:
    children:
      one: {run: "steps:ingest"}
      two: {run: "steps:ingest", after: [one]}
  b:
    children:
      one: {run: "steps:ingest", after: [two, a]}
      three: {run: "steps:ingest", after: [a/one, one, p/a/two]}
"""
    )
    one, three = loaded.spec.children[1].children
    assert one.after == ("p/a/two", "p/a/one")
    assert three.after == ("p/a/one", "p/b/one", "p/a/two")


def test_every_cycle_of_after_is_named(problems_of):
    """The cycle is written out, at one of the names that make it; through supervisors too."""
    problems = problems_of(
        """
pipeline: p
children:
  a: {run: "steps:ingest", after: [b]}
  b: {run: "steps:ingest", after: [c]}
  c: {run: "steps:ingest", after: [a]}
  g:
    children:
      x: {run: "steps:ingest", after: [h]}
  h: {run: "steps:ingest", after: [g]}
"""
    )
    assert [problem.message for problem in problems] == [
        "a cycle, so none could ever start: a → b → c → a",
        "a cycle, so none could ever start: g/x → h → g/x",
    ]
    assert problems[0].mark.line == 4


def test_all_problems_of_a_file_come_at_once(problems_of):
    """One look at the output is enough to mend the file."""
    problems = problems_of(
        """
pipeline: my pipeline
stratgy: one_for_one
max_restarts: -1
children:
  a:
    run: steps
    quota: {memory: 2, cpu: lots, processes: 0}
    after: [z]
  b:
    command: python train.py
    ready: {http: healthz}
    restart: always
"""
    )
    assert [(problem.mark.line, problem.suggestion) for problem in problems] == [
        (2, "`my-pipeline`"), (3, "`strategy`"), (4, ""), (7, "`steps:main`"), (8, "`2GiB`"),
        (8, ""), (8, ""), (9, ""), (11, "`[python, train.py]`"), (12, "`/healthz`"),
        (13, "`permanent`"),
    ]  # fmt: skip
    assert problems[0].key == "pipeline"
    assert problems[-1].key == "children.b.restart"


def test_values_from_the_environment_are_not_repeated(load_text, folder):
    """A problem shows the variable's name, never its value."""
    from supervisor.config import InvalidPipeline, load

    text = one_segment("run: steps:ingest\nquota: {memory: '${S}'}\nparams: {a: 1}\nkind: '${S}'")
    (folder / "pipeline.yaml").write_text(text)
    with pytest.raises(InvalidPipeline) as caught:
        load(folder / "pipeline.yaml", environment={"S": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert "${S}" in str(caught.value)
