"""What `90s`, `2GiB` and `500m` mean, and how to write a quantity back.

Decides the notation of durations (seconds), sizes (bytes) and processor shares (cores), in both
directions and without rounding. A quantity without its unit is refused, with a suggestion, because
`timeout: 90` is read as seconds by one person and as minutes by the next. Needs the standard
library only, so that whoever prints a quantity can import it without the YAML reader.
Read next: `shapes.py` (who reads quantities from a file).
"""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"

_SECONDS_PER_UNIT = {
    "d": Decimal(86400),
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
}
_BYTES_PER_UNIT = {
    "B": 1,
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGTPE", start=1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate("kMGTPE", start=1)},
}
_UNIT_IN_LOWER_CASE = {unit.lower(): unit for unit in _BYTES_PER_UNIT}

# The three patterns are also those of the JSON Schema: no syntax that only Python knows.
DURATION_PATTERN = "^(?=.)" + "".join(f"(?:({_NUMBER}){unit})?" for unit in _SECONDS_PER_UNIT) + "$"
SIZE_PATTERN = f"^({_NUMBER})({'|'.join(_BYTES_PER_UNIT)})$"
CORES_PATTERN = f"^({_NUMBER})m$"

LONGEST_S = 3650 * 86400.0
"""Ten years: longer than any deadline means `forever`, and short enough for every clock."""
LARGEST_BYTES = 2**60
"""One EiB: fits every kernel counter and SQLite's integers."""
MOST_CORES = 1_000_000


class UnitError(ValueError):
    """A quantity that cannot be read.

    Args:
        message: what is wrong with it.
        suggestion: how it was probably meant; empty when that is anybody's guess.
    """

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


def parse_duration(text: str) -> float:
    """Return the seconds that a duration stands for.

    >>> parse_duration("90s"), parse_duration("1h30m"), parse_duration("250ms")
    (90.0, 5400.0, 0.25)
    >>> parse_duration("1.5h"), parse_duration("7d"), parse_duration("0s")
    (5400.0, 604800.0, 0.0)
    >>> parse_duration("90")
    Traceback (most recent call last):
    supervisor.config.units.UnitError: a duration needs its unit
    >>> parse_duration("90 sec")
    Traceback (most recent call last):
    supervisor.config.units.UnitError: not a duration

    Raises:
        UnitError: no unit, an unknown unit, units out of order, or more than ten years.
    """
    if _is_number(text):
        raise UnitError("a duration needs its unit", f"{text}s")
    parts = re.fullmatch(DURATION_PATTERN, text, re.ASCII)
    if parts is None:
        raise UnitError("not a duration", _guess_duration(text))
    pairs = zip(parts.groups(), _SECONDS_PER_UNIT.values(), strict=True)
    seconds = float(sum(Decimal(number) * unit for number, unit in pairs if number))
    if seconds > LONGEST_S:
        raise UnitError("a duration of more than ten years")
    return seconds


def format_duration(duration_s: float) -> str:
    """Write seconds as a duration, exact to the millisecond.

    >>> [format_duration(s) for s in (90, 5400, 0.25, 604800, 0, 61.5)]
    ['1m30s', '1h30m', '250ms', '7d', '0s', '1m1s500ms']
    >>> parse_duration(format_duration(93784.056))
    93784.056
    """
    rest_ms = round(duration_s * 1000)
    words = []
    for unit, unit_s in _SECONDS_PER_UNIT.items():
        count, rest_ms = divmod(rest_ms, int(unit_s * 1000))
        if count:
            words.append(f"{count}{unit}")
    return "".join(words) or "0s"


def parse_size(text: str) -> int:
    """Return the bytes that a size stands for; `GiB` is 1024 to the third, `GB` 1000.

    >>> parse_size("2GiB"), parse_size("512MiB"), parse_size("1.5GB"), parse_size("4096B")
    (2147483648, 536870912, 1500000000, 4096)
    >>> parse_size("2")
    Traceback (most recent call last):
    supervisor.config.units.UnitError: a size needs its unit
    >>> parse_size("512m")
    Traceback (most recent call last):
    supervisor.config.units.UnitError: not a size

    Raises:
        UnitError: no unit, an unknown unit, a fraction of a byte, or more than one EiB.
    """
    if _is_number(text):
        raise UnitError("a size needs its unit", _guess_size_unit(text))
    parts = re.fullmatch(SIZE_PATTERN, text, re.ASCII)
    if parts is None:
        raise UnitError("not a size", _guess_size(text))
    size = Decimal(parts[1]) * _BYTES_PER_UNIT[parts[2]]
    if size > LARGEST_BYTES:
        raise UnitError("a size of more than 1EiB")
    if size != int(size):
        raise UnitError("a size of less than whole bytes", format_size(round(size)))
    return int(size)


def format_size(size_bytes: int) -> str:
    """Write bytes as a size, exactly, with the unit that gives the shortest number.

    >>> [format_size(n) for n in (2147483648, 536870912, 1500000000, 4096, 0, 1234567)]
    ['2GiB', '512MiB', '1500MB', '4KiB', '0B', '1234567B']
    >>> parse_size(format_size(1234567890))
    1234567890
    """
    exact = (
        (size_bytes // unit_bytes, unit)
        for unit, unit_bytes in _BYTES_PER_UNIT.items()
        if size_bytes % unit_bytes == 0
    )
    count, unit = min(exact, key=lambda pair: pair[0])
    return f"{count}{unit}"


def parse_cores(text: str) -> float:
    """Return the processor cores that a share stands for; `500m` is half a core.

    >>> parse_cores("0.5"), parse_cores("500m"), parse_cores("2")
    (0.5, 0.5, 2.0)
    >>> parse_cores("50%")
    Traceback (most recent call last):
    supervisor.config.units.UnitError: not a number of cores

    Raises:
        UnitError: neither a number nor a number of thousandths, or more than a million.
    """
    thousandths = re.fullmatch(CORES_PATTERN, text, re.ASCII)
    if thousandths is None and not _is_number(text):
        raise UnitError("not a number of cores", _guess_cores(text))
    cores = Decimal(thousandths[1]) / 1000 if thousandths else Decimal(text)
    if cores > MOST_CORES:
        raise UnitError("more cores than any machine has")
    return float(cores)


def format_cores(cores: float) -> str:
    """Write cores as a share.

    >>> [format_cores(cores) for cores in (0.5, 2.0, 0.125)]
    ['0.5', '2', '0.125']
    >>> parse_cores(format_cores(0.3))
    0.3
    """
    return str(int(cores)) if cores == int(cores) else repr(cores)


def _is_number(text: str) -> bool:
    return re.fullmatch(_NUMBER, text, re.ASCII) is not None


def _guess_duration(text: str) -> str:
    """Guess what was meant by a duration with a foreign unit."""
    parts = re.fullmatch(rf"({_NUMBER})\s*([a-z]+)", text.strip().lower(), re.ASCII)
    if parts is None:
        return ""
    meant = {
        "d": ("day", "days"),
        "h": ("hr", "hrs", "hour", "hours"),
        "m": ("min", "mins", "minute", "minutes"),
        "s": ("sec", "secs", "second", "seconds"),
        "ms": ("msec", "millis", "millisecond", "milliseconds"),
    }
    for unit, words in meant.items():
        if parts[2] == unit or parts[2] in words:
            return f"{parts[1]}{unit}"
    return ""


def _guess_size(text: str) -> str:
    """Guess what was meant by a size with a foreign unit: `512m`, `2 gb`, `1G`."""
    parts = re.fullmatch(rf"({_NUMBER})\s*([A-Za-z]+)", text.strip(), re.ASCII)
    if parts is None:
        return ""
    unit = parts[2].lower()
    exact = _UNIT_IN_LOWER_CASE.get(unit) or _UNIT_IN_LOWER_CASE.get(unit + "b")
    if len(unit) == 1 and unit in "kmgtpe":
        exact = unit.upper() + "iB"
    elif unit in {f"{letter}i" for letter in "kmgtpe"}:
        exact = unit[0].upper() + "iB"
    return f"{parts[1]}{exact}" if exact else ""


def _guess_size_unit(number: str) -> str:
    """Guess the unit of a bare number: bytes when it is huge, GiB when it is small."""
    value = Decimal(number)
    if value >= 2**20:
        return format_size(int(value)) if value <= LARGEST_BYTES else ""
    return f"{number}GiB" if value <= 64 else f"{number}MiB"


def _guess_cores(text: str) -> str:
    parts = re.fullmatch(rf"({_NUMBER})\s*(%|cpus?|cores?|c)", text.strip().lower(), re.ASCII)
    if parts is None:
        return ""
    cores = Decimal(parts[1]) / (100 if parts[2] == "%" else 1)
    return format_cores(float(cores)) if cores <= MOST_CORES else ""
