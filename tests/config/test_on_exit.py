"""Policy by cause, significant children and the restart rate, as a file says them."""

import pytest
from config_world import one_segment

from supervisor.config.causes import FIELD_OF, LOST, adjustments_from
from supervisor.config.keys import CAUSES, QUOTA
from supervisor.config.problems import Findings
from supervisor.core import boot, step
from supervisor.core.events import Exited, ExitKind, ExitReason, Ready
from supervisor.core.spec import Adjustments, AutoShutdown, Grow, OnExit, Quota, RestartRate

GIB = 2**30
GROWING = """\
run: steps:ingest
quota: {memory: 2GiB, cpu: 1, time: 1h}
env: {BATCH: "64", NAME: adam}
on_exit:
"""


def rules(load_text, lines):
    (segment,) = load_text(one_segment(GROWING + lines)).spec.children
    *declared, lost = segment.on_exit
    assert lost == LOST
    return tuple(declared)


def test_rules_as_the_issue_has_them(load_text):
    """Every form of a cause and of what follows."""
    lines = """\
  oom:
    grow: {memory: x1.5, up_to: 6GiB}
    tries: 2
    env: {BATCH: half}
  error[ValueError]: give_up
  exit[42]: give_up
  hang: restart
  start_timeout: {tries: 3}
"""
    assert rules(load_text, lines) == (
        OnExit("oom", True, 2, Grow("memory_bytes", 1.5, 6.0 * GIB), {"BATCH": "half"}),
        OnExit("error[ValueError]", retries=False),
        OnExit("exit[42]", retries=False),
        OnExit("hang"),
        OnExit("start_timeout", tries=3),
    )


def test_every_abnormal_exit_is_a_cause():
    """The words are those that `psup why` shows; a clean end is no failure."""
    clean = {"completed", "stopped", "gave_up"}
    assert set(CAUSES) == {kind.value for kind in ExitKind} - clean


@pytest.mark.parametrize(
    ("quota", "factor", "cap", "grow"),
    [
        ("memory", "x2", "4096MiB", Grow("memory_bytes", 2.0, 4.0 * GIB)),
        ("cpu", "x1.25", "1500m", Grow("cpu_cores", 1.25, 1.5)),
        ("time", "x3", "2h", Grow("time_s", 3.0, 7200.0)),
    ],
)
def test_cap_is_read_as_its_quota_is(load_text, quota, factor, cap, grow):
    """`up_to` has the unit of what grows."""
    lines = f"  oom: {{grow: {{{quota}: {factor}, up_to: {cap}}}}}\n"
    assert rules(load_text, lines) == (OnExit("oom", grow=grow),)


@pytest.mark.parametrize(
    ("lines", "key", "said"),
    [
        ("  oon: restart", "on_exit.oon", "`oom`"),
        ('  "error(KeyError)": give_up', "on_exit.error(KeyError)", "`error[KeyError]`"),
        ("  ValueError: give_up", "on_exit.ValueError", "`error[ValueError]`"),
        ('  "42": give_up', "on_exit.42", "`exit[42]`"),
        ("  SIGKILL: give_up", "on_exit.SIGKILL", "`signal[SIGKILL]`"),
        ("  completed: restart", "on_exit.completed", "wrong name"),
        ("  oom: retry", "on_exit.oom", "`restart`"),
        ("  oom: {retries: 3}", "on_exit.oom.retries", "`tries`"),
        ("  oom: {tries: -1}", "on_exit.oom.tries", "whole number"),
        ("  oom: {grow: {memory: 1.5}}", "on_exit.oom.grow.memory", "`x1.5`"),
        ("  oom: {grow: {memory: 50%}}", "on_exit.oom.grow.memory", "`x1.5`"),
        ("  oom: {grow: {memory: x1}}", "on_exit.oom.grow.memory", "lets nothing grow"),
        ("  oom: {grow: {disk: x2}}", "on_exit.oom.grow.disk", "no `quota.disk`"),
        ("  oom: {grow: {memory: x2, cpu: x2}}", "on_exit.oom.grow", "exclude each other"),
        ("  oom: {grow: {up_to: 6GiB}}", "on_exit.oom.grow", "is missing"),
        ("  oom: {grow: {memory: x2, up_to: 1GiB}}", "on_exit.oom.grow.up_to", "less than"),
        ("  oom: {grow: {memory: x2, up_to: 6h}}", "on_exit.oom.grow.up_to", "size"),
        ("  oom: {env: {NAME: half}}", "on_exit.oom.env.NAME", "must be a whole number"),
        ("  oom: {env: {MISSING: double}}", "on_exit.oom.env.MISSING", "must be a whole number"),
        ("  oom: {then: give_up, tries: 2}", "on_exit.oom.tries", "no next attempt"),
    ],
)
def test_mistakes_are_located_and_named(problems_of, lines, key, said):
    """Each at its own key, with what was probably meant."""
    (problem,) = problems_of(one_segment(f"{GROWING}{lines}\n"))
    assert problem.key.startswith(f"children.s.{key}")
    assert problem.mark.line >= 8
    assert said in str(problem)


def test_same_cause_is_not_said_twice(problems_of):
    """`never_on` and `on_exit` may not both decide one exit."""
    text = one_segment(
        "run: steps:ingest\nrestart: {never_on: [ValueError]}\n"
        "on_exit:\n  error[ValueError]: restart\n"
    )
    (problem,) = problems_of(text)
    assert "restart.never_on" in str(problem)


def test_rules_of_a_temporary_segment_are_doubted(load_text):
    """They would never hold."""
    loaded = load_text(
        one_segment("run: steps:ingest\nrestart: temporary\non_exit: {oom: restart}")
    )
    assert [warning.key for warning in loaded.warnings] == ["children.s.on_exit"]


def test_policy_may_have_rules(load_text, folder):
    """They hold where the segment has none of its own; a segment's replace them."""
    (folder / "policies" / "hungry.yaml").write_text("on_exit: {oom: {tries: 4}}\n")
    text = one_segment("run: steps:ingest\npolicy: hungry")
    assert load_text(text).spec.children[0].on_exit == (OnExit("oom", tries=4), LOST)
    own = text + "    on_exit: {hang: give_up}\n"
    assert load_text(own).spec.children[0].on_exit == (OnExit("hang", retries=False), LOST)


def test_file_may_say_what_follows_a_lost_node(load_text):
    """Its word replaces ours."""
    text = one_segment("run: steps:ingest\non_exit: {node_lost: {tries: 2}}")
    assert load_text(text).spec.children[0].on_exit == (OnExit("node_lost", tries=2),)


def test_loss_of_everything_at_once_uses_up_no_limit_for_crashes(load_text):
    """Ray dies under seven services of a supervisor that allows five restarts: all come back."""
    names = "abcdefg"
    text = "pipeline: p\nchildren:\n" + "".join(
        f'  {name}: {{kind: service, run: "steps:serve"}}\n' for name in names
    )
    tree = boot(load_text(text).spec, 0.0).tree
    for name in names:
        step(tree, Ready(f"p/{name}", 1), 1.0)
    lost = ExitReason(ExitKind.NODE_LOST)
    for name in names:
        step(tree, Exited(f"p/{name}", 1, lost), 2.0)
    assert not tree.root.state.failed
    assert tree.root.state.restarts == ()
    assert [type(node.state.phase).__name__ for node in tree.root.children] == ["BackingOff"] * 7


# ---------------------------------------------------------------------------------- significant

BRANCH = """\
pipeline: p
{root}
children:
  g:
    auto_shutdown: {mode}
    restart: {restart}
    {significant}
    children:
      a: {{run: "steps:ingest", significant: true{of_child}}}
"""


def branch(mode="any_significant", restart="temporary", significant="", of_child="", root=""):
    return BRANCH.format(
        mode=mode, restart=restart, significant=significant, of_child=of_child, root=root
    )


def test_significant_children(load_text):
    """Both words arrive at their nodes."""
    spec = load_text(branch(significant="significant: true", root="auto_shutdown: all_significant"))
    root = spec.spec
    assert root.auto_shutdown is AutoShutdown.ALL_SIGNIFICANT
    assert root.children[0].auto_shutdown is AutoShutdown.ANY_SIGNIFICANT
    assert root.children[0].significant
    assert root.children[0].children[0].significant


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (branch(mode="never"), "children.g.children.a", "never shuts down"),
        (branch(of_child=", restart: permanent"), "children.g.children.a", "a permanent child"),
        (branch(of_child=", kind: service"), "children.g.children.a", "a permanent child"),
        (branch(mode="never", of_child=", kind: service"), "children.g.children.a", "never shuts"),
        (branch(significant="significant: true"), "children.g", "never shuts down"),
        (
            branch(significant="significant: true", restart="permanent",
                   root="auto_shutdown: any_significant"),
            "children.g",
            "a permanent child",
        ),
    ],
)  # fmt: skip
def test_significant_children_that_could_never_matter(problems_of, text, key, said):
    """OTP's bad_combination, at the child, the supervisor's mode asked first."""
    (problem,) = problems_of(text)
    assert (problem.key, said in str(problem)) == (f"{key}.significant", True)


@pytest.mark.parametrize("mode", ["never", "any_significant", "all_significant"])
def test_instances_are_not_significant(problems_of, mode):
    """Case 64 of OTP's suite, significant_simple: refused in every mode, at the word."""
    text = one_segment("run: steps:ingest\nreplicas: 2\nsignificant: true")
    (problem,) = problems_of(f"auto_shutdown: {mode}\n{text}")
    assert problem.key == "children.s.significant"
    assert "instances come and go" in str(problem)


# -------------------------------------------------------------------------------- restart rate


def test_restart_rate(load_text):
    """The pipeline's own, else a generous one; what is not said has its default."""
    text = one_segment("run: steps:ingest")
    assert load_text(text).spec.restart_rate == RestartRate(20, 2.0)
    loaded = load_text(f"restart_rate: {{burst: 3}}\n{text}")
    assert loaded.spec.restart_rate == RestartRate(3, 2.0)


# ------------------------------------------------------------------------------- for one attempt


def test_what_one_life_is_given():
    """Quotas with their units, with or without `quota.`, and variables as they stand."""
    findings = Findings()
    found = adjustments_from(
        ["memory=3GiB", "quota.cpu=500m", "time=90s", "env.BATCH=64", "env.A=x=y ${B}"], findings
    )
    assert found == Adjustments(
        {"memory_bytes": 3 * GIB, "cpu_cores": 0.5, "time_s": 90.0},
        {"BATCH": "64", "A": "x=y ${B}"},
    )
    assert list(findings.errors) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("memory", "not a setting"),
        ("memroy=3GiB", "`memory`"),
        ("ram=3GiB", "`memory`"),
        ("memory=3", "`3GiB`"),
        ("memory=1KiB", "at least 8MiB"),
        ("gpu=1", "nothing that one life can be given"),
        ("BATCH=64", "`env.NAME`"),
        ("env.=64", "a wrong name"),
        ("env.A-B=64", "a wrong name"),
    ],
)
def test_what_one_life_cannot_be_given(text, said):
    """Refused at the option, with what was probably meant, and without repeating the value."""
    findings = Findings()
    adjustments_from([text], findings)
    (problem,) = findings.errors
    assert said in str(problem)


def test_every_quota_has_its_field():
    """A new quota needs its line."""
    assert set(FIELD_OF) == set(QUOTA.keys)
    assert set(FIELD_OF.values()) == set(Quota.__slots__)
