"""Plain texts mean something only where all readers agree; variables are replaced or refused."""

import doctest

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.config import scalars
from supervisor.config.scalars import AmbiguousError, VariableError, plain_value, substitute


def test_the_examples_in_the_docstrings_hold():
    """Every doctest of the module passes, and there are some."""
    result = doctest.testmod(scalars)
    assert (result.failed, result.attempted > 5) == (0, True)


SURPRISES = [
    "on",
    "On",
    "ON",
    "off",
    "yes",
    "Yes",
    "no",
    "NO",
    "y",
    "Y",
    "n",
    "N",
    "1:30",
    "1:30:00",
    "12:30.5",
    "010",
    "0o17",
    "0x1F",
    "0b11",
    "007",
    "1e3",
    "1E3",
    "1e-4",
    "1_000",
    "1,000_",
    "3.10",
    "1.0e3",
    "5.",
    ".50",
    "+5",
    ".inf",
    "-.inf",
    ".NaN",
    "~",
    "2024-01-31",
    "2024-1-1",
    "2001-12-14t21:59:43.10-05:00",
]


@pytest.mark.parametrize("text", [word for word in SURPRISES if word != "1,000_"])
def test_what_readers_disagree_on_is_refused(text):
    """None of YAML 1.1's surprises is silently read as anything."""
    with pytest.raises(AmbiguousError) as caught:
        plain_value(text)
    assert f'"{text}"' in caught.value.suggestion


@given(st.text(alphabet="0123456789+-._:eExXobinfaTtruylso~ ", max_size=8))
@example("1e3")
@example("0o17")
@example("1:30")
@example("-0.0")
def test_a_plain_text_is_never_read_differently_from_yaml_1_1(text):
    """Whatever is accepted has the value that PyYAML, a YAML 1.1 reader, gives it."""
    if text != text.strip() or ": " in text or text.endswith(":") or text.startswith(("-", "~")):
        return
    try:
        value = plain_value(text)
    except AmbiguousError:
        return
    try:
        theirs = yaml.safe_load(text)
    except yaml.YAMLError:
        return  # no plain text at all
    assert (type(value), value) == (type(theirs), theirs)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NAME}", "ann"),
        ("/data/${NAME}/${NAME}", "/data/ann/ann"),
        ("${UNSET:-3}", "3"),
        ("${EMPTY:-3}", "3"),
        ("${EMPTY}", ""),
        ("${UNSET:-}", ""),
        ("${UNSET:-a$$b:-c}", "a$b:-c"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$ann"),
        ("$NAME $ 5$", "$NAME $ 5$"),
    ],
)
def test_variables_are_replaced(text, expected):
    """`${VAR}`, `${VAR:-default}` and `$$` are replaced, anything else stays."""
    assert substitute(text, {"NAME": "ann", "EMPTY": ""}) == expected


@pytest.mark.parametrize(
    "text",
    ["${UNSET}", "${}", "${1A}", "${A B}", "${A", "${A:?no}", "${A:-${B}}", "${A-b}", "${BYTES}"],
)
def test_a_variable_that_cannot_be_replaced_is_refused(text):
    """An unset variable, a foreign form and bytes that are no text raise VariableError."""
    with pytest.raises(VariableError):
        substitute(text, {"A": "1", "BYTES": "\udcff"})
