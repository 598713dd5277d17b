"""YAML to a located tree: what is read, and everything that is refused, with its place."""

import time

import pytest

from supervisor.config.document import Items, Scalar, Table
from supervisor.config.problems import Findings
from supervisor.config.strict_yaml import parse, parse_value


def read(text):
    findings = Findings()
    data = text if isinstance(text, bytes) else text.encode()
    return parse(data, "f", findings), findings.errors


def plain(node):
    """Return the tree as plain texts, lists and dictionaries."""
    match node:
        case Scalar():
            return node.text
        case Items():
            return [plain(item) for item in node.items]
        case Table():
            return {key: plain(entry.value) for key, entry in node.entries.items()}


def test_every_value_is_the_text_that_was_typed():
    """`on`, `010`, `1e3`, dates and times reach the readers as they stand in the file."""
    table, errors = read("a: on\nb: 010\nc: 1e3\nd: 2024-01-31\ne: 1:30\non: ~\n")
    assert errors == ()
    assert plain(table) == {
        "a": "on", "b": "010", "c": "1e3", "d": "2024-01-31", "e": "1:30", "on": "~",
    }  # fmt: skip


def test_quoted_and_plain_texts_are_told_apart():
    """Only a text without quotes may later mean a number; block texts never do."""
    table, _ = read("a: 1\nb: '1'\nc: \"1\"\nd: |\n  1\n")
    assert [entry.value.plain for entry in table.entries.values()] == [True, False, False, False]


def test_keys_and_values_know_where_they_stand():
    """Marks count lines and columns from 1, for keys and for values."""
    table, _ = read("a:\n  bé: [x, y]\n")
    entry = table.value("a").entries["bé"]
    assert (entry.key_mark.line, entry.key_mark.column) == (2, 3)
    assert [(i.mark.line, i.mark.column) for i in entry.value.items] == [(2, 8), (2, 11)]


def test_aliases_and_merge_keys_work_as_in_yaml_1_1():
    """Own keys win over merged ones, earlier sources over later ones, and order is kept."""
    table, errors = read(
        "x-a: &a {one: 1, two: 2}\nx-b: &b {two: B, three: 3}\n"
        "own: {zero: 0, <<: [*a, *b], one: mine}\nalias: *a\n"
    )
    assert errors == ()
    assert plain(table.value("own")) == {"zero": "0", "one": "mine", "two": "2", "three": "3"}
    assert list(table.value("own").entries) == ["zero", "one", "two", "three"]
    assert plain(table.value("alias")) == {"one": "1", "two": "2"}


def test_a_quoted_merge_key_is_an_ordinary_key():
    """Only a plain `<<` merges."""
    table, _ = read('"<<": {a: 1}\n')
    assert plain(table) == {"<<": {"a": "1"}}


def laughs(levels):
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels))
    return "\n".join(lines)


def chain(levels):
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, levels))]
    return "\n".join(lines)


REFUSED = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", (3, 1), "duplicate key; the first stands in line 1"),
    "duplicate nested key": ("a: {b: 1, b: 2}\n", (1, 11), "duplicate key"),
    "duplicate key, quoted": ("a: 1\n'a': 2\n", (2, 1), "duplicate key"),
    "two merge keys": ("x: &x {a: 1}\ny: {<<: *x, <<: *x}\n", (2, 13), "duplicate key"),
    "merge of a text": ("a: {<<: text}\n", (1, 9), "`<<` takes a mapping"),
    "merge of a list of texts": ("a: {<<: [x]}\n", (1, 10), "`<<` takes a mapping"),
    "a tag": ("a: !!str 1\n", (1, 4), "tags are not supported"),
    "a python tag": ("a: !!python/object/apply:os.system [id]\n", (1, 4), "tags are not"),
    "a non-specific tag": ("a: ! 1\n", (1, 4), "tags are not supported"),
    "a tag on a mapping": ("!!map\na: 1\n", (1, 1), "tags are not supported"),
    "a list as a key": ("? [a]\n: 1\n", (1, 3), "a key is a plain text"),
    "an empty key": ("? \n: 1\n", (1, 2), "a key is a plain text"),
    "no key": (": 1\n", (1, 1), "not YAML"),
    "a list at the top": ("- a\n- b\n", (1, 1), "a file holds a mapping"),
    "a text at the top": ("just text\n", (1, 1), "a file holds a mapping"),
    "an empty file": ("", (1, 1), "the file is empty"),
    "only comments": ("# nothing\n\n# here\n", (1, 1), "the file is empty"),
    "an empty document": ("---\n", (1, 1), "the file is empty"),
    "two documents": ("a: 1\n---\nb: 2\n", (2, 1), "a second document"),
    "an unknown alias": ("a: *nope\n", (1, 4), "no anchor of that name"),
    "an anchor used before it is set": ("a: *b\nb: &b 1\n", (1, 4), "no anchor of that name"),
    "an anchor set twice": ("a: &x 1\nb: &x 2\n", (2, 4), "a second anchor of that name"),
    "a recursive list": ("a: &a [*a]\n", (1, 8), "an anchor that contains itself"),
    "a recursive mapping": ("a: &a\n  b: *a\n", (2, 6), "an anchor that contains itself"),
    "a recursive merge": ("a: &a\n  <<: *a\n", (2, 7), "an anchor that contains itself"),
    "billion laughs": (laughs(9), (6, 15), "the aliases stand for more than"),
    "a chain of aliases": (chain(150), (99, 12), "the aliases nest more than"),
    "deep nesting": ("a: " + "[" * 2000, (1, 103), "nested more than 100 levels"),
    "deep nesting by indentation": (
        "\n".join("  " * n + f"k{n}:" for n in range(120)), (100, 199), "nested more than",
    ),
    "a tab as indentation": ("a:\n\tb: 1\n", (2, 1), "a tab"),
    "a tab after a colon": ("a:\t{\n", (1, 3), "a tab"),
    "a NUL byte": ("a: b\0c\n", (1, 5), "a control character"),
    "an escaped NUL": ('a: "b\\0c"\n', (1, 4), "a NUL character in a text"),
    "half a surrogate pair": ('a: "\\ud800"\n', (1, 4), "half a character in a text"),
    "an impossible escape": ('a: "\\U99999999"\n', (1, 7), "an escape or a directive"),
    "an unknown escape": ('a: "\\q"\n', (1, 6), "not YAML"),
    "a huge directive": (f"%YAML 1.{'9' * 5000}\n---\na: 1\n", (1, 9), "an escape or a directive"),
    "YAML 2": ("%YAML 2.0\n---\na: 1\n", (1, 1), "not YAML"),
    "a control character": ("a: \x07\n", (1, 4), "a control character"),
    "a byte order mark": (b"\xef\xbb\xbfa: 1\n", (1, 1), "byte order mark (UTF-8)"),
    "UTF-16": ("a: 1\n".encode("utf-16"), (1, 1), "byte order mark (UTF-16)"),
    "UTF-16 without a mark": ("a: 1\n".encode("utf-16-le"), (1, 2), "a control character"),
    "Latin-1": ("a: 1\nb: caf\xe9\n".encode("latin-1"), (2, 7), "not UTF-8"),
    "a mark inside": ("a: 1\nb: \ufeffx\n", (2, 4), "a byte order mark"),
    "an open list": ("a: [1, 2\n", (2, 1), "not YAML"),
    "an open mapping": ("a: {b: 1\nc: 2\n", (2, 2), "not YAML"),
    "an open quote": ('a: "b\n', (2, 1), "not YAML"),
    "wrong indentation": ("a:\n    b: 1\n  c: 2\n", (3, 3), "not YAML"),
    "two colons": ("a: b: c\n", (1, 5), "not YAML"),
    "no space after the colon": ("a:1\nb: 2\n", (2, 2), "not YAML"),
    "a percent sign": ("a: %b\n", (1, 4), "not YAML"),
    "an at sign": ("a: @b\n", (1, 4), "not YAML"),
    "a backtick": ("a: `b`\n", (1, 4), "not YAML"),
    "garbage": ("}{][", (1, 1), "not YAML"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_misread_is_refused_with_its_place(name):
    """Each text gives one problem, at the line and column of its cause."""
    text, place, message = REFUSED[name]
    _, errors = read(text)
    assert errors, name
    assert message in errors[0].message
    assert (errors[0].mark.line, errors[0].mark.column) == place


def test_an_attack_is_refused_in_no_time():
    """Texts made to blow a reader up cost less than reading an honest file of that size."""
    start = time.process_time()
    for text in ("[" * 2**20, laughs(60), chain(20_000), "? " * 2**19, "- " * 2**19):
        assert read(text)[1]
    assert time.process_time() - start < 20


def test_reading_goes_on_after_a_duplicate_key():
    """Problems that do not break the structure are all reported."""
    _, errors = read("a: 1\na: !!int 2\nb: {c: 1, c: 2}\n")
    assert [error.mark.line for error in errors] == [2, 2, 3]


def test_one_value_can_be_read_by_itself():
    """`--set` values in brackets are YAML's flow style, under the same rules."""
    findings = Findings()
    assert plain(parse_value("[a, {b: 1}]", "--set x", findings)) == ["a", {"b": "1"}]
    assert parse_value("[a", "--set x", findings) is None
    assert "not YAML" in findings.errors[0].message
