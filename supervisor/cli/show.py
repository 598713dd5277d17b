"""`psup show`: everything known about one node, declared and measured.

Names of environment variables are shown, their values are not even in the store.
Read next: `why.py` (what it means).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import click

from supervisor.cli.arguments import examples, json_option, pipeline_option, targets_argument
from supervisor.cli.given import given_words, rule_words
from supervisor.cli.home import Home
from supervisor.cli.outlook import progress_words
from supervisor.cli.picture import (
    SCHEMA_VERSION,
    Node,
    View,
    candidates,
    complaint,
    launched,
    open_store,
    quota_name,
    view,
)
from supervisor.cli.render import (
    NOTHING,
    STATE_COLOURS,
    Cell,
    Terminal,
    fields,
    say,
    table,
    terminal,
    write,
)
from supervisor.cli.store_reader import LifeRow
from supervisor.cli.targets import resolve
from supervisor.cli.words import age, exit_text, restarts_text, size, span

Json = Mapping[str, Any]

_LIVES_SHOWN = 6
_USAGE_OF = {
    "memory_bytes": "memory_bytes",
    "cpu_cores": "cpu_cores",
    "processes": "processes",
    "open_files": "open_files",
    "disk_bytes": "disk_bytes",
}


class Sheet(NamedTuple):
    """All that is printed about one node."""

    seen: View
    node: Node
    spec: Json
    lives: Sequence[LifeRow]
    folder: str


def _lines(sheet: Sheet, screen: Terminal) -> Iterator[str]:
    node = sheet.node
    yield screen.paint(node["path"], "bold")
    yield from fields(_head(sheet, screen), indent="  ")
    if node["kind"] == "supervisor":
        return
    yield from _part("Body", fields(_body(sheet), indent="  "), screen)
    yield from _part("Policy", fields(_policy(sheet.spec), indent="  "), screen)
    yield from _part("Quota", _indented(_quota_table(sheet, screen)), screen)
    yield from _part("Lives", _indented(_lives_table(sheet, screen)), screen)


def _part(title: str, lines: Sequence[str], screen: Terminal) -> Iterator[str]:
    if lines:
        yield ""
        yield screen.paint(title, "bold")
        yield from lines


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _head(sheet: Sheet, screen: Terminal) -> Iterator[tuple[str, str]]:
    node, spec = sheet.node, sheet.spec
    state = screen.paint(node["state"], STATE_COLOURS.get(node["state"], ""))
    since = f" for {age(node['age_s'])}" if node["age_s"] is not None else ""
    yield "state", state + since
    yield "last", node["cause"]
    yield "next", node["next"]["text"] if node["next"] else ""
    yield "kind", node["kind"]
    yield "strategy", node.get("strategy", "")
    if node["kind"] == "supervisor":
        window = span(spec["max_seconds"])
        yield (
            "limit",
            f"{spec['max_restarts']} restarts in {window}, {node['restarts']['used']} used",
        )
        yield "restart", spec["restart"]
        shuts_down = spec.get("auto_shutdown", "never")
        yield "auto shutdown", shuts_down if shuts_down != "never" else ""
        yield "significant", "yes" if spec.get("significant") else ""
        rate = spec.get("restart_rate")
        yield "restart rate", _rate(rate) if rate else ""
    else:
        yield "pid", str(node["pid"] or "")
        yield "node", node["node"] or ""
        yield "life", str(node["incarnation"] or "none yet")
        yield "given", given_words(spec, sheet.seen.rows[node["path"]].state)
        yield "restarts", f"{restarts_text(node['restarts'])} (limit of its {_account(node)})"
        yield "progress", progress_words(node["progress"]) if node["progress"] else ""
        yield "status", node["status"] or ""
    if "daemon_pid" in node:
        yield from _pipeline_fields(sheet)
    for name in ("description", "owner", "runbook"):
        yield name, node["notes"].get(name, "")


def _rate(rate: Json) -> str:
    return f"{rate['burst']} restarts at once, then {rate['per_second']:g} a second"


def _account(node: Node) -> str:
    return "own" if node["restarts"]["of"] == "segment" else "supervisor"


def _pipeline_fields(sheet: Sheet) -> Iterator[tuple[str, str]]:
    info = sheet.seen.row.info
    yield "daemon", str(sheet.node["daemon_pid"] or "not running")
    yield "file", str(info.get("file", ""))
    yield "ray", str(info.get("ray_address") or "")
    yield "quotas", str(info.get("enforcement_mode") or "")
    yield "folder", sheet.folder


def _body(sheet: Sheet) -> Iterator[tuple[str, str]]:
    body = sheet.spec["body"]
    yield "run", body["run"] or ""
    yield "command", _command_line(body["command"] or ())
    yield "folder", body["folder"]
    yield "env", ", ".join(f"{name}=(not shown)" for name in sorted(body["env"]))
    yield "params", "\n".join(f"{name}: {value}" for name, value in body["params"].items())
    ports = sheet.node["ports"]
    yield "ports", "\n".join(f"{name}: 127.0.0.1:{port or 'auto'}" for name, port in ports.items())
    yield "log", sheet.node["log"] or ""
    yield "checkpoint", f"{sheet.folder}/checkpoint"
    life = sheet.node["incarnation"]
    yield "scratch", f"{sheet.folder}/scratch/{life}" if life else ""


def _command_line(argv: Sequence[str]) -> str:
    import shlex

    return shlex.join(argv)


def _policy(spec: Json) -> Iterator[tuple[str, str]]:
    backoff, budget, shutdown = spec["backoff"], spec["budget"], spec["shutdown"]
    yield "policy", spec["policy"]
    yield "restart", spec["restart"]
    delays = f"{span(backoff['first_s'])} x{backoff['factor']:g} up to {span(backoff['max_s'])}"
    forgotten = f"forgotten after {span(backoff['reset_after_s'])}"
    yield "backoff", f"{delays}, jitter {backoff['jitter']:.0%}, {forgotten}"
    if budget:
        window_s = budget["max_seconds"]
        window = f"in {span(window_s)}" if window_s is not None else "in a row"
        yield "own limit", f"{budget['max_restarts']} restarts {window}"
    yield "never on", ", ".join(spec["never_on"])
    yield "on exit", "\n".join(rule_words(rule) for rule in spec.get("on_exit") or ())
    yield "significant", "yes" if spec.get("significant") else ""
    yield "after", ", ".join(spec["after"])
    yield "start timeout", span(spec["start_timeout_s"])
    grace_s = shutdown["grace_s"]
    grace = "no time limit" if grace_s is None else f"killed after {span(grace_s)}"
    yield "shutdown", f"{shutdown['signal']}, {grace}" if grace_s != 0 else "killed at once"
    for name in ("ready", "alive"):
        probe = spec["health"][name]
        yield name, _probe(probe) if probe else ""
    yield "criticality", spec["criticality"]


def _probe(probe: Json) -> str:
    target = _command_line(probe["argv"]) if probe["how"] == "exec" else probe["target"]
    port = f"port {probe['port']}" if probe["how"] in ("http", "tcp") else ""
    what = " ".join(part for part in (probe["how"], port, target) if part)
    if probe["how"] == "notify":
        return f"{what}, within {span(probe['period_s'])}"
    return f"{what}, every {span(probe['period_s'])}, {probe['failures']} failures in a row"


def _quota_table(sheet: Sheet, screen: Terminal) -> list[str]:
    node = sheet.node
    usage = node["usage"] or {}
    rows = []
    for field, limit in node["quota"].items():
        name = quota_name(field)
        held = node["enforcement"].get(name, "")
        used = usage.get(_USAGE_OF.get(field, ""))
        peak = usage.get("peak_memory_bytes") if field == "memory_bytes" else None
        style = "red" if held == "none" else ""
        words = {"none": "NOT HELD", "": "not known yet"}.get(held, held)
        cells = (name, _amount(field, limit), _amount(field, used), _amount(field, peak))
        rows.append([*(Cell(text) for text in cells), Cell(words, style)])
    return table(("QUOTA", "LIMIT", "USED", "PEAK", "HELD BY"), rows, screen) if rows else []


def _amount(field: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    if field.endswith("_bytes"):
        return size(value)
    return span(value) if field.endswith("_s") else f"{value:g}"


def _lives_table(sheet: Sheet, screen: Terminal) -> list[str]:
    now_s = sheet.seen.now_s
    rows = []
    for life in sheet.lives:
        end_s = life.ended_s if life.ended_s is not None else now_s
        ran = age(end_s - life.started_s) if life.started_s is not None else NOTHING
        ended = f"{age(now_s - life.ended_s)} ago" if life.ended_s is not None else "lives"
        reason = {"kind": life.reason_kind or "", "detail": life.reason_detail}
        peak = life.evidence.get("peak_memory_bytes")
        cells = (
            str(life.incarnation),
            str(life.pid or NOTHING),
            ran,
            ended,
            size(peak) if peak is not None else NOTHING,
            exit_text(reason) if life.reason_kind else NOTHING,
        )
        rows.append([Cell(text) for text in cells])
    header = ("LIFE", "PID", "RAN", "ENDED", "PEAK", "REASON")
    return table(header, rows, screen) if rows else []


def _facts(sheet: Sheet) -> dict[str, Any]:
    seen = sheet.seen
    spec = {name: value for name, value in sheet.spec.items() if name != "children"}
    return {
        "node": sheet.node,
        "spec": spec,
        "folder": sheet.folder,
        "lives": [
            {
                "incarnation": life.incarnation,
                "pid": life.pid,
                "started": seen.iso(life.started_s),
                "ready": seen.iso(life.ready_s),
                "ended": seen.iso(life.ended_s),
                "reason": {"kind": life.reason_kind, "detail": life.reason_detail},
                "peak_memory_bytes": life.evidence.get("peak_memory_bytes"),
                "log": life.log,
            }
            for life in sheet.lives
        ],
    }


@click.command(
    epilog=examples(
        "psup show serve",
        "psup show digits              the pipeline itself",
        "psup show serve --json | jq '.nodes[].node.ports.http'",
    )
)
@targets_argument(required=True)
@pipeline_option
@json_option
def show(targets: tuple[str, ...], *, pipeline: str | None, as_json: bool) -> None:
    """Show everything known about one node: declared, measured, and where its files are."""
    home = Home.resolve()
    with open_store(home) as reader:
        rows = launched(reader)
        paths = resolve(targets, candidates(reader, rows), pipeline)
        views = {row.name: view(reader, row) for row in rows}
        sheets = [
            Sheet(
                seen=(seen := views[path.partition("/")[0]]),
                node=seen.node(path),
                spec=seen.rows[path].spec,
                lives=reader.lives(path, _LIVES_SHOWN),
                folder=str(home.segment(path) if "/" in path else home.pipeline(path)),
            )
            for path in paths
        ]
    if as_json:
        import json

        facts = {"schema_version": SCHEMA_VERSION, "nodes": [_facts(sheet) for sheet in sheets]}
        write([json.dumps(facts, ensure_ascii=False)])
        return
    screen = terminal()
    for number, sheet in enumerate(sheets):
        write([""] * bool(number) + list(_lines(sheet, screen)))
    for words in {complaint(sheet.seen): None for sheet in sheets}:
        if words:
            say(f"psup: {words}")
