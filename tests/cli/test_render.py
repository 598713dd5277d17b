"""Tables, colours and terminals."""

import io
import os
import pty

import pytest

from supervisor.cli.render import Cell, Terminal, fields, table, terminal

PLAIN = Terminal(colour=False, width=None, height=None)


def test_a_cell_is_cut_in_the_text_before_its_tail():
    """A cut shows, and never makes a cell wider."""
    cell = Cell("name", "", "  strategy")
    assert cell.width == 14
    assert cell.cut(14) == cell
    assert cell.cut(8) == Cell("name", "", "  s…")
    assert cell.cut(4) == Cell("name")
    assert cell.cut(2) == Cell("n…")


def test_only_the_last_column_is_cut():
    """The others keep their width whatever the terminal."""
    rows = [[Cell("a"), Cell("long enough")]]
    lines = table(("ONE", "TWO"), rows, Terminal(colour=False, width=10, height=9))
    assert lines == ["ONE  TWO", "a    long…"]


def test_colour_does_not_move_columns():
    """Escape sequences take no room."""
    rows = [[Cell("a", "red"), Cell("b")], [Cell("ccc"), Cell("d")]]
    lines = table(("X", "Y"), rows, Terminal(colour=True, width=None, height=None))
    assert lines[1] == "\x1b[31ma\x1b[0m    b"
    assert lines[2] == "ccc  d"


def test_an_empty_table_is_its_header():
    """No rows are no error."""
    assert table(("A", "B"), [], PLAIN) == ["A  B"]


def test_fields_leave_out_what_is_not_known():
    """Names stand in one column; a value of several lines stays in its own."""
    assert fields([("a", "1"), ("gone", ""), ("long", "2\n3")]) == ["a     1", "long  2", "      3"]


@pytest.mark.parametrize(
    ("variables", "colour"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_a_terminal_is_asked_for_its_width_and_its_user_for_colours(monkeypatch, variables, colour):
    """NO_COLOR always wins; COLUMNS wins over the terminal's own width."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    main, side = pty.openpty()
    with os.fdopen(side, "w") as stream:
        assert terminal(stream) == Terminal(colour, 80, 24)  # a new pty has no size
        monkeypatch.setenv("COLUMNS", "123")
        assert terminal(stream).width == 123
    os.close(main)


def test_a_pipe_has_no_width_and_no_colour(monkeypatch):
    """Whatever TERM says."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    assert terminal(io.StringIO()) == PLAIN
