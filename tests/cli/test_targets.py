"""What a person means by a name, with several pipelines at once."""

import pytest

from supervisor.cli.targets import (
    Candidate,
    resolve,
    resolve_pipelines,
    segments_below,
    short_names,
)
from supervisor.errors import NoSuchTarget

DIGITS = [
    Candidate("digits", "supervisor"),
    Candidate("digits/data", "supervisor"),
    Candidate("digits/data/ingest", "task"),
    Candidate("digits/train", "supervisor"),
    Candidate("digits/train/train", "task"),
    Candidate("digits/serve", "service"),
]
WORDS = [
    Candidate("words", "supervisor"),
    Candidate("words/ingest", "task"),
    Candidate("words/http", "supervisor"),
    Candidate("words/http/serve", "service"),
]
RESTING = [
    Candidate("old", "supervisor", live=False),
    Candidate("old/ingest", "task", live=False),
    Candidate("old/only", "task", live=False),
]
ALL = DIGITS + WORDS + RESTING


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("digits/data/ingest", "digits/data/ingest"),
        ("data/ingest", "digits/data/ingest"),
        ("digits", "digits"),
        ("digits/", "digits"),
        ("http", "words/http"),
        ("http/serve", "words/http/serve"),
        ("only", "old/only"),
        ("old/ingest", "old/ingest"),
    ],
)
def test_a_name_that_fits_once_is_that_node(typed, meant):
    """Full paths, paths below the pipeline and unique last parts name one node."""
    assert resolve([typed], ALL) == [meant]


def test_the_path_below_the_pipeline_wins_over_a_mere_last_part():
    """`train` is the supervisor at that place, not the segment of that name inside it."""
    assert resolve(["train"], DIGITS) == ["digits/train"]


@pytest.mark.parametrize("typed", ["ingest", "serve"])
def test_a_name_that_fits_in_two_live_pipelines_is_refused_with_both(typed):
    """Nothing is guessed between pipelines, not even by depth."""
    with pytest.raises(NoSuchTarget, match="fits 2 nodes") as caught:
        resolve([typed], ALL)
    assert "words/" in caught.value.message
    assert "--pipeline" in caught.value.hint


def test_pipeline_chooses_between_them():
    """--pipeline makes an ambiguous name one node's."""
    assert resolve(["ingest"], ALL, "words") == ["words/ingest"]
    assert resolve(["ingest"], ALL, "old") == ["old/ingest"]


def test_live_pipelines_win_over_those_that_are_down():
    """A pipeline that is down does not make the name of a live segment ambiguous."""
    assert resolve(["ingest"], DIGITS + RESTING) == ["digits/data/ingest"]


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("t*", ["digits/train/train"]),
        ("digits/*", ["digits/data/ingest", "digits/train/train", "digits/serve"]),
        ("data/*", ["digits/data/ingest"]),
        ("ingest*", ["digits/data/ingest", "words/ingest"]),
        ("*/http/serv?", ["words/http/serve"]),
    ],
)
def test_a_glob_means_the_segments_that_fit(pattern, meant):
    """Globs match segments only, and last parts when they have no slash."""
    assert resolve([pattern], ALL) == meant


def test_several_targets_keep_their_order_and_come_once():
    """A node that two targets mean is asked about once."""
    assert resolve(["digits/serve", "data/ingest", "digits/*"], DIGITS) == [
        "digits/serve",
        "digits/data/ingest",
        "digits/train/train",
    ]


def test_nothing_fits_says_what_is_near_and_what_there_is():
    """A slip of the finger is answered with the nearest name."""
    with pytest.raises(NoSuchTarget) as caught:
        resolve(["ingset"], DIGITS)
    assert caught.value.exit_code == 4
    assert "did you mean ingest?" in caught.value.message
    assert "serve" in caught.value.hint


def test_a_glob_that_fits_nothing_is_an_error():
    """An empty match is never a silent success."""
    with pytest.raises(NoSuchTarget):
        resolve(["x*"], ALL)


def test_an_unknown_pipeline_is_named():
    """--pipeline and pipeline arguments have the same error."""
    with pytest.raises(NoSuchTarget, match="did you mean digits"):
        resolve(["serve"], ALL, "digit")
    with pytest.raises(NoSuchTarget, match="no pipeline is called 'nope'"):
        resolve_pipelines(["nope"], ["digits"])


def test_a_supervisor_stands_for_the_segments_below_it():
    """What is below is found by whole names, not by prefixes of names."""
    more = [*DIGITS, Candidate("digits/training", "task")]
    assert segments_below(["digits/train"], more) == ["digits/train/train"]
    assert segments_below(["digits"], DIGITS) == [
        "digits/data/ingest",
        "digits/train/train",
        "digits/serve",
    ]


def test_every_short_name_means_its_node():
    """What completion offers is always accepted, and always means what it was offered for."""
    for path, name in short_names(ALL).items():
        live = [node for node in ALL if node.live or path.startswith("old")]
        assert resolve([name], live) == [path]
