"""Quantities: read, written back, and refused with a suggestion."""

import doctest
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config import units
from supervisor.config.units import UnitError


def test_the_examples_in_the_docstrings_hold():
    """Every doctest of the module passes, and there are some."""
    result = doctest.testmod(units)
    assert (result.failed, result.attempted > 10) == (0, True)


@given(st.integers(min_value=0, max_value=int(units.LONGEST_S) * 1000))
def test_a_duration_survives_being_written(milliseconds):
    """Any number of milliseconds is read back exactly as it was written."""
    seconds = milliseconds / 1000
    assert units.parse_duration(units.format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(st.integers(min_value=0, max_value=units.LARGEST_BYTES))
def test_a_size_survives_being_written(size_bytes):
    """Any number of bytes is read back exactly as it was written."""
    assert units.parse_size(units.format_size(size_bytes)) == size_bytes


@given(st.integers(min_value=1, max_value=1_000_000))
def test_cores_survive_being_written(thousandths):
    """Any number of thousandths of a core is read back exactly as it was written."""
    cores = thousandths / 1000
    assert units.parse_cores(units.format_cores(cores)) == cores
    assert units.parse_cores(f"{thousandths}m") == cores


@pytest.mark.parametrize(
    ("parse", "text", "suggestion"),
    [
        (units.parse_duration, "90", "90s"),
        (units.parse_duration, "5 min", "5m"),
        (units.parse_duration, "2hours", "2h"),
        (units.parse_duration, "1s1h", ""),
        (units.parse_duration, "", ""),
        (units.parse_duration, "-5s", ""),
        (units.parse_duration, "5s\n", "5s"),
        (units.parse_duration, "4000d", ""),
        (units.parse_duration, "\u0665s", ""),
        (units.parse_size, "2", "2GiB"),
        (units.parse_size, "512", "512MiB"),
        (units.parse_size, "2147483648", "2GiB"),
        (units.parse_size, "512m", "512MiB"),
        (units.parse_size, "2 gb", "2GB"),
        (units.parse_size, "2Gi", "2GiB"),
        (units.parse_size, "512mib", "512MiB"),
        (units.parse_size, "lots", ""),
        (units.parse_size, "0.5B", "0B"),
        (units.parse_size, "9EiB", ""),
        (units.parse_cores, "50%", "0.5"),
        (units.parse_cores, "2 cores", "2"),
        (units.parse_cores, "all", ""),
        (units.parse_cores, "9" * 400, ""),
        (units.parse_cores, "9" * 400 + "%", ""),
    ],
)
def test_what_is_no_quantity_is_refused_with_what_was_meant(parse, text, suggestion):
    """A wrong quantity raises UnitError; its suggestion is what a person most likely meant."""
    with pytest.raises(UnitError) as caught:
        parse(text)
    assert caught.value.suggestion == suggestion
    assert not suggestion or parse(suggestion) >= 0


def test_units_need_no_yaml_reader():
    """Whoever formats a quantity does not pay for PyYAML."""
    check = "import sys, supervisor.config.units; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
