"""Files of NAME=value lines."""

import doctest

import pytest

from supervisor.config import env_file
from supervisor.config.env_file import parse_env_file
from supervisor.config.problems import Findings


def test_the_examples_in_the_docstrings_hold():
    """Every doctest of the module passes, and there are some."""
    result = doctest.testmod(env_file)
    assert (result.failed, result.attempted > 2) == (0, True)


def test_values_are_read_as_shells_and_docker_agree():
    """Quotes go, spaces around go, everything inside stays."""
    data = b"""
A=
B=a=b # not a comment
C='it is $HOME'
  export D = "x y"
E_1=caf\xc3\xa9\r
"""
    findings = Findings()
    assert parse_env_file(data, "f", findings) == {
        "A": "", "B": "a=b # not a comment", "C": "it is $HOME", "D": "x y", "E_1": "café",
    }  # fmt: skip
    assert findings.errors == ()


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"A=1\nB\n", 2), (b"1A=2\n", 1), (b"A='x\n", 1), (b"A=\0\n", 1), (b"\n\nA=\xff\n", 3)],
)
def test_a_wrong_line_is_located_and_its_value_kept_secret(data, line):
    """The problem has the line, and never the value."""
    findings = Findings()
    parse_env_file(data, "f", findings)
    assert [problem.mark.line for problem in findings.errors] == [line]
    assert findings.errors[0].found == ""
