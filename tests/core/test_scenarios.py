"""Stories in tests/core/scenarios, each with the trace that the core gave when it was last read.

A story is a tree, a line `---`, and what happens, one line each; the indented lines below it are
what the core ordered, reported and answered. `pytest tests/core --rewrite` writes them anew; look
at the difference and explain each hunk in the commit.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest
from stage import Stage, reason_of

STORIES = sorted((pathlib.Path(__file__).parent / "scenarios").glob("*.txt"))
INDENT = "    "


def tell(text: str) -> str:
    """Play a story and return it with a fresh trace."""
    head, _, tail = text.partition("---\n")
    stage = Stage(head)
    lines = []
    for line in tail.splitlines():
        if line.startswith(INDENT):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            lines += [INDENT + said for said in perform(stage, line)]
    return f"{head}---\n" + "\n".join(lines) + "\n"


def perform(stage: Stage, line: str) -> list[str]:
    """One line of a story: a verb, its words, and `at=SECONDS`."""
    verb, *words = line.split()
    at = next((float(word[3:]) for word in words if word.startswith("at=")), None)
    words = [word for word in words if not word.startswith("at=")]
    if verb in LOOKS:
        return LOOKS[verb](stage)
    if verb == "ready":
        said = []
        for name in words:
            stage.ready(name, at=at)
            said += stage.said
        return said
    HAPPENINGS[verb](stage, words, at)
    return stage.said


def _exits(stage: Stage, words: list[str], at: float | None) -> None:
    """`exit NAME REASON [LIFE]`; of the latest life unless one is named."""
    name, reason, *life = words
    stage.exits(name, reason_of(reason), at, life=int(life[0]) if life else None)


LOOKS: dict[str, Callable[[Stage], list[str]]] = {
    "boot": lambda stage: stage.said,
    "daemon-dies": Stage.reload,
    "tree": lambda stage: stage.drawing().splitlines(),
    "next": lambda stage: [str(stage.next())],
}
HAPPENINGS: dict[str, Callable[[Stage, list[str], float | None], object]] = {
    "all-up": lambda stage, _, at: stage.all_up(at),
    "exit": _exits,
    "hang": lambda stage, words, at: stage.hangs(words[0], at),
    "tick": lambda stage, _, at: stage.tick(at),
    "start": lambda stage, words, at: stage.start(words[0], at),
    "stop": lambda stage, words, at: stage.stop(words[0], at),
    "restart": lambda stage, words, at: stage.restart(words[0], at),
    "down": lambda stage, _, at: stage.drain(at),
}


@pytest.mark.parametrize("story", STORIES, ids=lambda path: path.stem)
def test_story_is_told_as_before(story: pathlib.Path, pytestconfig: pytest.Config) -> None:
    """The core does what it did when this story was last read and found right."""
    text = story.read_text(encoding="utf-8")
    told = tell(text)
    if pytestconfig.getoption("--rewrite", default=False):
        story.write_text(told, encoding="utf-8")
    assert pytestconfig.getoption("--rewrite", default=False) or told == text


def test_there_are_stories() -> None:
    """An empty folder would make the test above pass without a word."""
    assert len(STORIES) >= 15
