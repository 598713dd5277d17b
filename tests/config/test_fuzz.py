"""Whatever the bytes, loading ends in a pipeline or in located problems."""

import tempfile
from pathlib import Path

from config_world import ENVIRONMENT, EXAMPLE
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.config import InvalidPipeline, load

TEXT = (EXAMPLE / "pipeline.yaml").read_text()
LINES = TEXT.splitlines()
PIECES = [
    *(line.strip() for line in LINES),
    *[
        ":",
        "-",
        "[",
        "]",
        "{",
        "}",
        ",",
        "?",
        "&",
        "*",
        "!",
        "|",
        ">",
        "'",
        '"',
        "#",
        "@",
        "`",
        "%",
        "---",
        "...",
    ],
]
PIECES += ["<<: *defaults", "${", "${A:-}", "$$", "*x", "&x", "\t", "!!map", "~", "on", "1e3", "é"]

fuzzed = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # noisy machines


def ends_well(data: bytes, *overrides: str) -> None:
    """Load these bytes: a pipeline, or problems that each have a place and fit in one line."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        file.write_bytes(data)
        try:
            problems = load(file, overrides=overrides, environment=ENVIRONMENT).warnings
        except InvalidPipeline as invalid:
            problems = invalid.problems or [None]
    for problem in problems:
        assert problem is not None, "refused without a reason"
        assert problem.mark.line > 0 or problem.mark.file.startswith("--set ")
        assert "\n" not in problem.message
        str(problem).encode()


@fuzzed
@given(st.binary(max_size=300))
def test_any_bytes(data):
    """Random bytes."""
    ends_well(data)


@fuzzed
@given(st.text(max_size=300))
def test_any_text(text):
    """Random texts, all of Unicode."""
    ends_well(text.encode("utf-8", "surrogatepass"))


@fuzzed
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(PIECES)), max_size=30))
def test_any_arrangement_of_what_files_are_made_of(rows):
    """Lines of a valid file and YAML's special characters, indented at random."""
    ends_well("\n".join(" " * indent + piece for indent, piece in rows).encode())


@fuzzed
@given(
    st.integers(0, len(TEXT) - 1),
    st.integers(0, 40),
    st.one_of(st.sampled_from(PIECES), st.text(max_size=8)),
)
def test_any_edit_of_a_valid_file(start, length, inserted):
    """A part of the example replaced by something else."""
    text = TEXT[:start] + inserted + TEXT[start + length :]
    ends_well(text.encode("utf-8", "surrogatepass"))


@fuzzed
@given(st.lists(st.sampled_from(LINES), max_size=40))
def test_any_shuffle_of_lines(lines):
    """Lines of the example, lost, doubled and out of order."""
    ends_well("\n".join(lines).encode())


@fuzzed
@given(
    st.sampled_from(["train", "batch", "p", "", "serve", "children", "max_restarts"]),
    st.lists(
        st.sampled_from(
            ["run", "quota", "memory", "env", "A", "params", "rate", "x-y", "children"]
        ),
        max_size=3,
    ),
    st.one_of(st.sampled_from(["3", "on", "[1", "{a: 1}", "*x", "'"]), st.text(max_size=10)),
)
def test_any_override(node, keys, value):
    """`--set` with keys and values that make no sense."""
    ends_well(TEXT.encode(), f"{'.'.join([node, *keys])}={value}")
