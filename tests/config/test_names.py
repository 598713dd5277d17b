"""Names find nodes, and cycles are found exactly when there are any."""

import doctest
import itertools
from graphlib import CycleError, TopologicalSorter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import names
from supervisor.config.names import UnclearNameError, find_cycles, names_of
from supervisor.config.problems import Findings
from supervisor.config.strict_yaml import parse

TREE = b"""
children:
  data: {children: {load: {}, clean: {}, deep: {children: {load: {}, only: {}}}}}
  serve: {}
  data-copy: {children: {clean: {}}}
"""


@pytest.fixture
def tree():
    return names_of(parse(TREE, "f", Findings()), "p")


def test_the_examples_in_the_docstrings_hold():
    """Every doctest of the module passes, and there are some."""
    result = doctest.testmod(names)
    assert (result.failed, result.attempted > 1) == (0, True)


@pytest.mark.parametrize(
    ("name", "siblings_of", "path"),
    [
        ("serve", "", "p/serve"),
        ("only", "", "p/data/deep/only"),
        ("p/data/load", "", "p/data/load"),
        ("data/load", "", "p/data/load"),
        ("deep/load", "", "p/data/deep/load"),
        ("load", "p/data/clean", "p/data/load"),
        ("load", "p/data/deep/only", "p/data/deep/load"),
        ("data", "p/serve", "p/data"),
        ("p", "", "p"),
    ],
)
def test_a_name_is_a_path_a_sibling_or_a_unique_last_part(tree, name, siblings_of, path):
    """Siblings come first, then paths, then last parts."""
    assert tree.find(name, siblings_of) == path


def test_a_name_of_several_nodes_is_unclear(tree):
    """The message lists the paths to choose from."""
    with pytest.raises(UnclearNameError) as caught:
        tree.find("load", "p/serve")
    assert caught.value.allowed == "`p/data/load` or `p/data/deep/load`"


def test_a_name_of_no_node_is_unclear(tree):
    """The message knows the nearest name, or the nearest path for a path."""
    for name, suggestion in (("serv", "serve"), ("data/laod", "data/load")):
        with pytest.raises(UnclearNameError) as caught:
            tree.find(name)
        assert caught.value.suggestion == suggestion


def test_a_supervisor_stands_for_its_segments(tree):
    """Those of supervisors below it too, and not those whose name only starts the same."""
    below = ("p/data/load", "p/data/clean", "p/data/deep/load", "p/data/deep/only")
    assert tree.segments_below("p/data") == below
    assert tree.segments_below("p/serve") == ("p/serve",)


GRAPHS = st.dictionaries(
    st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4)
)


@given(GRAPHS)
def test_cycles_are_found_exactly_when_there_are_any(graph):
    """The standard library's sorter agrees, and every cycle goes along what is waited for."""
    cycles = find_cycles(graph)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        assert cycles
    else:
        assert cycles == []
    for cycle in cycles:
        assert cycle[0] == cycle[-1]
        assert all(after in graph[by] for by, after in itertools.pairwise(cycle))


def test_a_cycle_of_ten_thousand_is_found():
    """Long chains need neither recursion nor patience."""
    ring = {str(n): [str((n + 1) % 10_000)] for n in range(10_000)}
    assert len(find_cycles(ring)[0]) == 10_001
