"""Policies: found beside the pipeline or shipped, laid under the segment key by key."""

import pytest
from config_world import one_segment

from supervisor.config.policies import shipped_folder
from supervisor.core.spec import (
    Backoff,
    Budget,
    Criticality,
    Notes,
    Probe,
    Quota,
    Restart,
    Shutdown,
)

SHIPPED = sorted(
    file.name.removesuffix(".yaml")
    for file in shipped_folder().iterdir()
    if file.name.endswith(".yaml")
)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_policy_is_valid(load_text, name):
    """A segment can name any of them; none raises a warning on its own kind of segment."""
    kind = "service" if name in {"serving", "monitoring", "streaming"} else "task"
    loaded = load_text(one_segment(f"run: steps:ingest\nkind: {kind}\npolicy: {name}"))
    assert loaded.spec.children[0].policy == name
    assert loaded.warnings == ()


def test_the_promised_policies_are_shipped():
    """Those that the documentation names exist."""
    assert {"batch", "training", "serving", "monitoring"} <= set(SHIPPED)


def test_serving_comes_back_at_once_and_goes_last(load_text):
    """The numbers that serving promises."""
    (serve,) = load_text(
        one_segment("run: steps:serve\nkind: service\npolicy: serving\nready: {http: /ok}")
    ).spec.children
    assert (serve.restart, serve.criticality) == (Restart.PERMANENT, Criticality.CRITICAL)
    backoff = serve.backoff
    assert (backoff.first_s, backoff.factor, backoff.max_s) == (0.01, 4.0, 30.0)
    assert serve.health.ready == Probe("http", "/ok", period_s=0.25)
    assert serve.health.alive is None


def test_own_keys_win_and_the_rest_is_the_policys(load_text):
    """Mappings are merged at every depth, short forms included."""
    (segment,) = load_text(
        one_segment(
            "run: steps:ingest\npolicy: house\nquota: {memory: 3GiB}\n"
            "restart: temporary\nready: {http: /ok, period: 9s}\nalive: {tcp: http}\n"
            "ports: {http: auto}"
        )
    ).spec.children
    assert segment.quota == Quota(memory_bytes=3 * 2**30, processes=8)
    assert segment.restart is Restart.TEMPORARY
    assert segment.backoff == Backoff(first_s=1.0, max_s=60.0)
    assert segment.budget == Budget(9, None)
    assert segment.start_timeout_s == 600.0
    assert segment.health.ready == Probe("http", "/ok", period_s=9.0)
    assert segment.health.alive == Probe("tcp", port="http", timeout_s=7.0, failures=9)
    assert segment.shutdown == Shutdown()
    assert segment.notes == Notes()  # the policy's description is its own


def test_a_short_form_in_a_policy_is_merged_too(load_text, folder):
    """`shutdown: 30s` below `{signal: SIGINT}` gives both."""
    (folder / "policies" / "short.yaml").write_text("shutdown: 30s\nrestart: permanent\n")
    (segment,) = load_text(
        one_segment(
            "run: steps:ingest\npolicy: short\nkind: service\n"
            "shutdown: {signal: SIGINT}\nrestart: {max_restarts: 1}"
        )
    ).spec.children
    assert segment.shutdown == Shutdown(30.0, "SIGINT")
    assert (segment.restart, segment.budget) == (Restart.PERMANENT, Budget(1))


def test_a_policy_that_leaves_open_how_to_ask_asks_nothing(load_text):
    """Settings of a probe hold only for segments that say how."""
    (segment,) = load_text(one_segment("run: steps:ingest\npolicy: house")).spec.children
    assert segment.health.ready is None
    assert segment.health.alive == Probe("exec", argv=("check",), failures=9, timeout_s=7.0)


def test_the_folder_beside_the_pipeline_wins_and_says_so(load_text, folder):
    """A policy of one's own hides the shipped one of that name, with a warning."""
    (folder / "policies" / "batch.yaml").write_text("criticality: critical\n")
    loaded = load_text(one_segment("run: steps:ingest\npolicy: batch"))
    assert loaded.spec.children[0].criticality is Criticality.CRITICAL
    assert "hides the shipped one" in loaded.warnings[0].message


def test_an_unknown_policy_lists_those_there_are(problems_of):
    """The list holds one's own and the shipped ones, and the nearest is suggested."""
    (problem,) = problems_of(one_segment("run: steps:ingest\npolicy: trainign"))
    assert problem.suggestion == "`training`"
    assert "`house`" in problem.allowed
    assert "`serving`" in problem.allowed
    assert (problem.mark.line, problem.mark.column) == (5, 13)


def test_a_wrong_policy_is_reported_once_in_its_own_file(problems_of, folder):
    """Two segments that use it do not double its problems."""
    (folder / "policies" / "bad.yaml").write_text("quota: {memory: 2}\nrun: steps:x\n")
    text = "pipeline: p\nchildren:\n" + "".join(
        f"  {name}: {{run: 'steps:ingest', policy: bad}}\n" for name in "ab"
    )
    problems = problems_of(text)
    assert [p.mark.file for p in problems] == [str(folder / "policies" / "bad.yaml")] * 2
    assert [(p.mark.line, p.key) for p in problems] == [(1, "quota.memory"), (2, "run")]


@pytest.mark.parametrize(
    "name", ["../secret", "a/b", "", "~", "[batch]", "{a: b}", "'a b'", "/etc/passwd"]
)
def test_a_policy_is_named_and_never_a_path(problems_of, name):
    """A name has no slash, so that it leads nowhere else."""
    (problem,) = problems_of(one_segment(f"run: steps:ingest\npolicy: {name}"))
    assert problem.key == "children.s.policy"


def test_an_unreadable_policy_is_a_problem_of_its_file(problems_of, folder):
    """Bytes that are no YAML are located in the policy's file."""
    (folder / "policies" / "bad.yaml").write_bytes(b"\xff\xfe")
    (problem,) = problems_of(one_segment("run: steps:ingest\npolicy: bad"))
    assert problem.mark.file.endswith("bad.yaml")
