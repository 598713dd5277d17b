"""How problems are written, ordered and counted once."""

import doctest

import pytest

from supervisor.config import InvalidPipeline, Mark, Problem, problems
from supervisor.config.problems import Findings
from supervisor.errors import EXIT_USAGE, SpecError


def test_the_examples_in_the_docstrings_hold():
    """Every doctest of the module passes, and there are some."""
    result = doctest.testmod(problems)
    assert (result.failed, result.attempted > 5) == (0, True)


def test_a_problem_is_one_line_with_all_that_is_known():
    """The line is `file:line:column: key.path: message (found, expected; did you mean)`."""
    problem = Problem(Mark("p.yaml", 3, 9), "children.a", "wrong", "`x`", "`y`", "`z`")
    assert str(problem) == (
        "p.yaml:3:9: children.a: wrong (found `x`, expected `y`; did you mean `z`?)"
    )
    assert str(Problem(Mark("--set a.b"), "", "wrong")) == "--set a.b: wrong"
    assert str(Problem(Mark("f", 1, 2), "k", "wrong", suggestion="`z`")) == (
        "f:1:2: k: wrong (did you mean `z`?)"
    )


def test_json_says_null_for_what_is_unknown():
    """The JSON shape always has the same keys."""
    assert Problem(Mark("--set a"), "", "wrong").as_json() == {
        "file": "--set a", "line": None, "column": None, "key": "", "message": "wrong",
        "found": None, "expected": None, "suggestion": None,
    }  # fmt: skip


def test_problems_come_in_the_order_of_the_file_and_once():
    """The same remark about the same place counts once, whoever makes it."""
    findings = Findings()
    for line in (7, 2, 7):
        findings.error(Problem(Mark("f", line, 1), f"key{line}", "wrong"))
    findings.error(Problem(Mark("f", 7, 1), "other path", "wrong"))
    assert [problem.mark.line for problem in findings.errors] == [2, 7]


def test_the_error_carries_every_problem_and_the_exit_code_of_usage():
    """Whoever catches it has the list; whoever prints it has all lines."""
    findings = Findings()
    findings.raise_errors()
    findings.error(Problem(Mark("f", 2, 1), "", "second"))
    findings.error(Problem(Mark("f", 1, 1), "", "first"))
    with pytest.raises(InvalidPipeline) as caught:
        findings.raise_errors()
    assert isinstance(caught.value, SpecError)
    assert caught.value.exit_code == EXIT_USAGE
    assert caught.value.message == (
        "the pipeline cannot be launched, 2 problems:\nf:1:1: first\nf:2:1: second"
    )
