"""`psup doctor`: look at this machine and say what to do.

Decides nothing but the exit code. Read next: `checkup.py` (what is looked at).
"""

from __future__ import annotations

import json

import click

from supervisor.cli.arguments import examples, json_option
from supervisor.cli.home import Home
from supervisor.cli.picture import SCHEMA_VERSION
from supervisor.cli.render import say, terminal, write
from supervisor.cli.words import count
from supervisor.errors import EXIT_ERROR, EXIT_OK


@click.command(epilog=examples("psup doctor", "psup doctor --json | jq '.findings[].subject'"))
@json_option
def doctor(*, as_json: bool) -> int:
    """Check this machine, and what psup has running or left on it, and say what to do.

    Changes nothing. `look` works, but with less than it could; `fix` will not work as promised.
    Exits with 1 when something must be fixed, else with 0.
    """
    from supervisor.cli.checkup import FIX, LOOK, OK, examine  # slow: it knows every adapter

    findings = list(examine(Home.resolve()))
    ills = [finding for finding in findings if finding.verdict == FIX]
    code = EXIT_ERROR if ills else EXIT_OK
    if as_json:
        facts = {
            "schema_version": SCHEMA_VERSION,
            "exit_code": code,
            "findings": [finding._asdict() for finding in findings],
        }
        write([json.dumps(facts, ensure_ascii=False)])
        return code
    screen = terminal()
    colours = {OK: "green", LOOK: "yellow", FIX: "red"}
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        verdict = screen.paint(f"{finding.verdict:<4}", colours[finding.verdict])
        lines = [f"{verdict}  {finding.subject:<{width}}  {finding.found}"]
        if finding.todo:
            lines.append(f"      {'':<{width}}  → {finding.todo}")
        write(lines)
    say(f"psup: {count(len(ills), 'thing')} to fix" if ills else "psup: nothing to fix")
    return code
