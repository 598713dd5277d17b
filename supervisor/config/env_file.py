"""A file of `NAME=value` lines, as `env_file:` names it.

Decides the format: what shells, Docker and systemd agree on. Empty lines and lines that start with
`#` are skipped, `export ` in front is allowed, a value may stand in single or double quotes, and
nothing in it is replaced. A value is never shown in a problem.
Read next: `build.py` (which folder the file is looked for in).
"""

from __future__ import annotations

import re

from supervisor.config.problems import Findings, Mark, Problem

_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
        (?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^"'].*?|))\s*""",
    re.VERBOSE | re.ASCII,
)


def parse_env_file(data: bytes, file: str, findings: Findings) -> dict[str, str]:
    r"""Return the variables of a file.

    >>> findings = Findings()
    >>> parse_env_file(b"# batch\nexport A=1\nB = 'two words'\n", "x.env", findings)
    {'A': '1', 'B': 'two words'}
    >>> parse_env_file(b"not an assignment", "x.env", findings), findings.errors[0].mark.line
    ({}, 1)
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        findings.error(Problem(Mark(file, number, 1), "", "the file is not UTF-8 text"))
        return {}
    variables = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None or "\0" in line:
            problem = Problem(Mark(file, number, 1), "", "not a variable", allowed="`NAME=value`")
            findings.error(problem)
            continue
        value = next(
            match[kind] for kind in ("double", "single", "bare") if match[kind] is not None
        )
        variables[match["name"]] = value
    return variables
