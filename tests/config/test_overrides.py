"""`--set`: finds its node and key, wins over file and policy, and is located at itself."""

import pytest
from config_world import one_segment

from supervisor.core.spec import Budget, Restart, Shutdown, Strategy


def segment_at(spec, *names):
    node = spec
    for name in names:
        node = next(child for child in node.children if child.name == name)
    return node


@pytest.fixture
def example(load_text, example_text):
    """Load the example with overrides."""
    return lambda *overrides: load_text(example_text, *overrides).spec


def train(spec):
    return segment_at(spec, "batch", "train")


def test_a_segments_key_is_set_by_its_last_name_or_path(example):
    """Both a unique last part and a path lead to the segment."""
    for target in ("train", "batch/train", "example/batch/train"):
        assert train(example(f"{target}.quota.memory=3GiB")).quota.memory_bytes == 3 * 2**30


def test_only_what_is_set_changes(example):
    """Everything else of the file stays as it is."""
    before, after = train(example()), train(example("train.quota.memory=3GiB"))
    assert after.quota.processes == before.quota.processes
    assert (after.after, after.body, after.budget) == (before.after, before.body, before.budget)


def test_a_parameter_can_be_set_by_its_own_name(example):
    """A key that is none of a segment's own, but declared in params, is that parameter."""
    params = train(
        example("train.rate=0.5", "train.layers=[1, 2]", "train.params.new=x")
    ).body.params
    assert params == {"rate": 0.5, "layers": [1, 2], "name": "adam", "new": "x"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("4GiB", "4GiB"), ("3", 3), ("true", True), ("null", None), ('"3"', "3"), ("", "")],
)
def test_a_parameter_gets_the_value_that_was_typed(example, value, expected):
    """Numbers and truth values as in the file, quotes keep a text a text."""
    assert train(example(f"train.rate={value}")).body.params["rate"] == expected


@pytest.mark.parametrize("value", ["3", "on", "1e3", "[not, a, list]", "${HOME}", "a=b"])
def test_a_parameter_that_is_a_text_stays_one(example, value):
    """What the file declares as a text takes any text, as it stands."""
    assert train(example(f"train.name={value}")).body.params["name"] == value


def test_variables_in_lists_and_quotes_are_text_too(example):
    """The shell had its turn, whatever the value looks like."""
    spec = example("train.layers=['${HOME}', {a: $$}]", "train.rate='${HOME}'")
    assert train(spec).body.params["layers"] == ["${HOME}", {"a": "$$"}]
    assert train(spec).body.params["rate"] == "${HOME}"


def test_the_pipeline_and_its_supervisors_can_be_set(example):
    """By key alone for the pipeline, by name for the others."""
    spec = example("max_restarts=3", "batch.max_restarts=1", "strategy=one_for_all", "pipeline=b")
    assert (spec.name, spec.max_restarts, spec.strategy) == ("b", 3, Strategy.ONE_FOR_ALL)
    assert spec.children[0].max_restarts == 1


def test_environment_variables_can_be_set(example):
    """Values are texts, as they stand; a dollar sign had its turn in the shell."""
    env = train(
        example("train.env.BATCH=3", "train.env.TOKEN=a${HOME}$$", "train.env.NEW=")
    ).body.env
    assert env == {
        "BATCH": "3", "SWITCH": "on", "REGION": "eu west", "TOKEN": "a${HOME}$$", "NEW": "",
    }  # fmt: skip


def test_short_forms_are_written_out_on_the_way(example):
    """`restart: word` and `shutdown: 20s` give way to keys below them."""
    spec = example("ingest.restart.max_restarts=2", "serve.shutdown.signal=SIGINT")
    ingest = segment_at(spec, "batch", "ingest")
    assert (ingest.restart, ingest.budget) == (Restart.TRANSIENT, Budget(2))
    assert segment_at(spec, "serve").shutdown == Shutdown(20.0, "SIGINT")


def test_a_set_wins_over_the_policy(example):
    """An override counts as the segment's own key."""
    assert segment_at(example("ingest.quota.time=5s"), "batch", "ingest").quota.time_s == 5.0


def test_later_sets_win_over_earlier_ones(example):
    """They are applied in the order of the command line."""
    assert example("max_restarts=3", "max_restarts=4").max_restarts == 4


def test_one_of_two_segments_with_a_shared_anchor_is_set(load_text):
    """An anchor's other users keep what they had."""
    spec = load_text(
        "pipeline: p\nx-q: &q {quota: {memory: 64MiB}}\nchildren:\n"
        "  a: {<<: *q, run: 'steps:ingest'}\n  b: {<<: *q, run: 'steps:ingest'}\n",
        "a.quota.memory=128MiB",
    ).spec
    assert [child.quota.memory_bytes for child in spec.children] == [2**27, 2**26]


@pytest.mark.parametrize(
    ("override", "message", "suggestion"),
    [
        ("nonsense", "not an override", ""),
        ("=3", "not an override", ""),
        ("train..x=3", "not an override", ""),
        ("trian.rate=1", "no node has that name, and no key of the pipeline", "`train`"),
        ("max_restart=1", "no node has that name, and no key of the pipeline", "`max_restarts`"),
        ("train=1", "a node has keys; say which", ""),
        ("train.raet=1", "an unknown key", "`rate`"),
        ("train.memory=1GiB", "an unknown key", "`quota.memory`"),
        ("train.x-note=1", "an unknown key", ""),
        ("train.quota.memroy=1GiB", "an unknown key", "`memory`"),
        ("train.quota.memory=1", "a size needs its unit", "`1GiB`"),
        ("train.after=[nobody]", "no node has that name", ""),
        ("train.after=[", "not YAML: while parsing a flow node", ""),
        ("train.command.0=x", "there is no `0` in a list; set the whole of it", ""),
        ("train.kind.x=1", "there is no `x` in a single value; set the whole of it", ""),
        ("train.rate=on", "readers of YAML disagree on what this means", '`"on"`'),
        ("train.run=steps:ingest", "keys that exclude each other", ""),
        ("train.policy=nope", "no policy has that name", ""),
        ("train.env.9X=1", "a wrong name", ""),
        ("children=3", "a wrong value", ""),
        ("pipeline=a/b", "a wrong value", "`a-b`"),
    ],
)
def test_a_wrong_override_is_refused_at_the_option(
    problems_of, example_text, override, message, suggestion
):
    """The problem's place is the option, without its value."""
    (problem,) = problems_of(example_text, override)
    assert problem.message.startswith(message)
    assert problem.suggestion.startswith(suggestion)
    assert str(problem.mark) == f"--set {override.split('=')[0]}"


def test_an_ambiguous_name_lists_the_paths(problems_of):
    """The person can choose from the full paths."""
    text = (
        "pipeline: p\nchildren:\n"
        "  a: {children: {s: {run: 'steps:ingest'}}}\n  b: {children: {s: {run: 'steps:ingest'}}}\n"
    )
    (problem,) = problems_of(text, "s.kind=task")
    assert (problem.message, problem.allowed) == (
        "several nodes have that name", "`p/a/s` or `p/b/s`",
    )  # fmt: skip


def test_problems_of_file_and_options_come_together(problems_of):
    """All of them, the file's with their lines."""
    problems = problems_of(one_segment("run: steps\nkind: job"), "s.quota.cpu=x", "nobody.x=1")
    marks = [str(problem.mark).rpartition("/")[2] for problem in problems]
    assert sorted(marks) == [
        "--set nobody.x", "--set s.quota.cpu", "pipeline.yaml:4:10", "pipeline.yaml:5:11",
    ]  # fmt: skip


def test_a_node_with_a_slash_in_its_name_breaks_nothing(problems_of):
    """A wrong name is one problem, whatever else is set."""
    text = "pipeline: p/q\nchildren:\n  a/b: {run: 'steps:ingest'}\n  c: {run: 'steps:ingest'}\n"
    problems = problems_of(text, "c.kind=service", "b.kind=service")
    assert [problem.message for problem in problems][-2:] == ["a wrong value", "a wrong name"]
