"""The JSON Schema of pipeline and policy files, made from the tables that the loader reads with.

Decides nothing about what is allowed: every shape describes itself. An editor that knows the schema
completes keys and marks most mistakes; what needs the whole file (`after`, ports, policies) or the
text behind a value (`on`, `010`) is the loader's alone, which says so with a place.
Read next: `keys.py` (the tables), `shapes.py` (what each shape says of itself).
"""

from __future__ import annotations

import json
from typing import Any

from supervisor.config.keys import POLICY, PROBE_SETTINGS, RECORDS, ROOT
from supervisor.config.records import Record
from supervisor.config.shapes import Json

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_VARIABLE = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "${VAR} or ${VAR:-default}, replaced from the environment.",
}


def pipeline_schema() -> Json:
    """Return the schema of a pipeline file."""
    return _document(ROOT, "A pipeline of psup: a tree of supervisors and segments.")


def policy_schema() -> Json:
    """Return the schema of a policy file."""
    return _document(POLICY, "A policy of psup: settings that segments share by name.")


def schema_text(*, policy: bool = False) -> str:
    """Return a schema as the text of a file.

    Args:
        policy: whether it is that of policy files.
    """
    schema = policy_schema() if policy else pipeline_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _document(record: Record, description: str) -> Json:
    definitions = {part.title: part.definition() for part in (*RECORDS, POLICY, PROBE_SETTINGS)}
    wanted = {record.title: definitions[record.title], "variable": _VARIABLE}
    missing = _referred(wanted) - set(wanted)
    while missing:
        wanted |= {title: definitions[title] for title in missing}
        missing = _referred(wanted) - set(wanted)
    return {
        "$schema": DIALECT,
        "title": f"psup {record.title}",
        "description": description,
        "$ref": f"#/$defs/{record.title}",
        "$defs": dict(sorted(wanted.items())),
    }


def _referred(part: Any) -> set[str]:
    """Return the titles of all definitions that a part of a schema refers to."""
    if isinstance(part, dict):
        own = {part["$ref"].rpartition("/")[2]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(_referred(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(_referred(value) for value in part))
    return set()
