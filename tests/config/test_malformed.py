"""Malformed pipeline files, hand-made and generated: located problems and exit code 2, always."""

# ruff: noqa: E501 - one case a line reads best

import re

import pytest
from config_world import EXAMPLE, one_segment

from supervisor.cli.main import psup

TEXT = (EXAMPLE / "pipeline.yaml").read_text()
LINES = TEXT.splitlines()
KEY_LINE = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z_<][\w<-]*):(?P<value> .*)?")

# (keys of the one segment, line:column, key below it, part of the message and of the suggestion)
# The second table leaves out `run: steps:ingest`, so that its keys begin in line 5 of the file.
ALONE = [
    ("", "3:5", "", "not a node", ""),
    ("- run: steps:ingest", "4:5", "", "not a node", ""),
    ("kind: task", "4:5", "", "one of `run` or `command` is missing", ""),
    ("run: steps", "4:10", "run", "a wrong value", "steps:main"),
    ("run: steps.ingest", "4:10", "run", "a wrong value", "steps:ingest"),
    ("run: lib/steps.py", "4:10", "run", "a wrong value", "lib.steps:main"),
    ("run: 'steps: ingest'", "4:10", "run", "a wrong value", ""),
    ("run: steps:1x", "4:10", "run", "a wrong value", ""),
    ("run: [steps]", "4:10", "run", "a wrong value", ""),
    ("run: ~", "4:10", "run", "a wrong value", ""),
    ("run: ''", "4:10", "run", "a wrong value", ""),
    ("command: python train.py", "4:14", "command", "a wrong value", "[python, train.py]"),
    ("command: []", "4:14", "command", "the list is empty", ""),
    ("command: [a, [b]]", "4:18", "command[1]", "a wrong value", ""),
    ("command: [a, ]\nrun:", "5:5", "", "keys that exclude each other", ""),
    ("command: [a, ~]", "4:18", "command[1]", "a wrong value", '"~"'),
    ("command: {a: b}", "4:14", "command", "a wrong value", ""),
    ("cmd: [a]", "4:5", "cmd", "an unknown key", "command"),
    ("children: {}", "4:15", "children", "a supervisor has at least one child", ""),
    ("children: [a]", "4:15", "children", "a wrong value", ""),
    ("children: {t: {run: 'steps:ingest'}}\nrun: steps:ingest", "5:5", "run", "an unknown key", ""),
    ("children: {t: {run: 'steps:ingest'}}\nrestart: {never_on: [1]}", "5:15", "restart.never_on", "an unknown key", ""),
    ("children: {t: {run: 'steps:ingest'}}\nstrategy: one-for-one", "5:15", "strategy", "a wrong", "one_for_one"),
    ("children: {t: {run: 'steps:ingest'}}\nmax_seconds: 0", "5:18", "max_seconds", "a wrong value", ""),
    ("children: {x-t: {run: 'steps:ingest'}}", "4:16", "children.x-t", "are not children", "one level up"),
    ("children: {a.b: {run: 'steps:ingest'}}", "4:16", "children.a.b", "a wrong name", "a-b"),
    ("children: {-a: {run: 'steps:ingest'}}", "4:16", "children.-a", "a wrong name", "a"),
    ("children: {é: {run: 'steps:ingest'}}", "4:16", "children.é", "a wrong name", ""),
    (f"children: {{{'n' * 64}: {{run: 'steps:ingest'}}}}", "4:16", f"children.{'n' * 64}", "a wrong name", ""),
]  # fmt: skip
WITH_RUN = [
    ("command: [a]", "5:5", "", "keys that exclude each other", ""),
    ("depends_on: [a]", "5:5", "depends_on", "an unknown key", "after"),
    ("memory: 1GiB", "5:5", "memory", "an unknown key", "quota.memory"),
    ("resources: {cpu: 1}", "5:5", "resources", "an unknown key", "quota"),
    ("environment: {A: 1}", "5:5", "environment", "an unknown key", "env"),
    ("timeout: 5m", "5:5", "timeout", "an unknown key", "quota.time"),
    ("strategy: one_for_one", "5:5", "strategy", "an unknown key", ""),
    ("max_restarts: 3", "5:5", "max_restarts", "an unknown", "restart.max_restarts"),
    ("kind: job", "5:11", "kind", "a wrong value", "task"),
    ("kind: Service", "5:11", "kind", "a wrong value", "service"),
    ("kind: [task]", "5:11", "kind", "a wrong value", ""),
    ("after: s", "5:12", "after", "a wrong value", "[s]"),
    ("after: [s]", "5:13", "after[0]", "a segment cannot wait for itself", ""),
    ("after: [p]", "5:13", "after[0]", "which it is part of", ""),
    ("after: [t]", "5:13", "after[0]", "no node has that name", ""),
    ("after: [p/s]", "5:13", "after[0]", "a segment cannot wait for itself", ""),
    ("after: [../s]", "5:13", "after[0]", "a wrong value", ""),
    ("restart: {never_on: [A, A]}", "5:29", "restart.never_on[1]", "named twice", ""),
    ("after: {s: ready}", "5:12", "after", "a wrong value", ""),
    ("policy: none-such", "5:13", "policy", "no policy has that name", ""),
    ("policy: batches", "5:13", "policy", "no policy has that name", "batch"),
    ("restart: always", "5:14", "restart", "a wrong value", "permanent"),
    ("restart: on-failure", "5:14", "restart", "a wrong value", "transient"),
    ("restart: no", "5:14", "restart", "a wrong value", "temporary"),
    ("restart: 3", "5:14", "restart", "a wrong value", ""),
    ("restart: [permanent]", "5:14", "restart", "a wrong value", ""),
    ("restart: {retries: 3}", "5:15", "restart.retries", "an unknown", "max_restarts"),
    ("restart: {max_restarts: three}", "5:29", "restart.max_restarts", "a wrong", ""),
    ("restart: {max_restarts: -1}", "5:29", "restart.max_restarts", "a wrong", ""),
    ("restart: {max_restarts: 1.5}", "5:29", "restart.max_restarts", "a wrong", ""),
    ("restart: {max_restarts: '3'}", "5:29", "restart.max_restarts", "a wrong", "3"),
    ("restart: {max_restarts: 1e3}", "5:29", "restart.max_restarts", "a wrong", "1000"),
    ("restart: {max_restarts: 010}", "5:29", "restart.max_restarts", "a wrong", "10"),
    ("restart: {max_restarts: 1_000}", "5:29", "restart.max_restarts", "a", "1000"),
    ("restart: {max_restarts: 0x10}", "5:29", "restart.max_restarts", "a wrong", ""),
    ("restart: {max_seconds: 5m}", "5:28", "restart.max_seconds", "limits nothing", ""),
    ("restart: {max_restarts: 1, max_seconds: 0}", "5:45", "restart.max_seconds", "a", ""),
    ("restart: {backoff: 5s}", "5:24", "restart.backoff", "a wrong value", ""),
    ("restart: {backoff: {first: 5}}", "5:32", "restart.backoff.first", "needs its", "5s"),
    ("restart: {backoff: {first: -5s}}", "5:32", "restart.backoff.first", "not a", ""),
    ("restart: {backoff: {first: 2m}}", "5:32", "restart.backoff.first", "longer", ""),
    ("restart: {backoff: {max: 10ms}}", "5:30", "restart.backoff.max", "longer", ""),
    ("restart: {backoff: {factor: 0.5}}", "5:33", "restart.backoff.factor", "a", ""),
    ("restart: {backoff: {factor: .inf}}", "5:33", "restart.backoff.factor", "a", ""),
    ("restart: {backoff: {jitter: 20%}}", "5:33", "restart.backoff.jitter", "a", ""),
    ("restart: {backoff: {jitter: 1.5}}", "5:33", "restart.backoff.jitter", "a", ""),
    ("restart: {backoff: {reset_after: 0s}}", "5:38", "restart.backoff.reset_after", "a wrong", ""),
    ("restart: {never_on: ValueError}", "5:25", "restart.never_on", "a", "[ValueError]"),
    ("restart: {never_on: [300]}", "5:26", "restart.never_on[0]", "a wrong", ""),
    ("restart: {never_on: [0]}", "5:26", "restart.never_on[0]", "a wrong", ""),
    ("restart: {never_on: [a b]}", "5:26", "restart.never_on[0]", "a wrong", ""),
    ("quota: 2GiB", "5:12", "quota", "a wrong value", ""),
    ("quota: {memory: 2}", "5:21", "quota.memory", "needs its unit", "2GiB"),
    ("quota: {memory: 2G}", "5:21", "quota.memory", "not a size", "2GiB"),
    ("quota: {memory: 1KiB}", "5:21", "quota.memory", "a wrong value", ""),
    ("quota: {memory: -1GiB}", "5:21", "quota.memory", "not a size", ""),
    ("quota: {memory: 99999EiB}", "5:21", "quota.memory", "more than", ""),
    ("quota: {memory: .inf}", "5:21", "quota.memory", "not a size", ""),
    ("quota: {memory: ~}", "5:21", "quota.memory", "a wrong value", ""),
    ("quota: {memory:}", "5:20", "quota.memory", "a wrong value", ""),
    ("quota: {cpu: 0}", "5:18", "quota.cpu", "a wrong value", ""),
    ("quota: {cpu: 50%}", "5:18", "quota.cpu", "not a number of cores", "0.5"),
    ("quota: {cpu: -1}", "5:18", "quota.cpu", "not a number of cores", ""),
    ("quota: {processes: 0}", "5:24", "quota.processes", "a wrong value", ""),
    ("quota: {processes: 9999999}", "5:24", "quota.processes", "a wrong value", ""),
    ("quota: {open_files: 3}", "5:25", "quota.open_files", "a wrong value", ""),
    ("quota: {open_files: 1GiB}", "5:25", "quota.open_files", "a wrong value", ""),
    ("quota: {time: 2}", "5:19", "quota.time", "needs its unit", "2s"),
    ("quota: {time: 1:30}", "5:19", "quota.time", "not a duration", ""),
    ("quota: {time: 0s}", "5:19", "quota.time", "a wrong value", ""),
    ("quota: {time: 5min}", "5:19", "quota.time", "not a duration", "5m"),
    ("quota: {time: 99999d}", "5:19", "quota.time", "more than ten years", ""),
    ("quota: {gpu: 1.5}", "5:18", "quota.gpu", "shared out whole", ""),
    ("quota: {log: 1B}", "5:18", "quota.log", "a wrong value", ""),
    ("quota: {mem: 1GiB}", "5:13", "quota.mem", "an unknown key", "memory"),
    ("ready: true", "5:12", "ready", "a wrong value", ""),
    ("ready: {period: 1s}", "5:12", "ready", "is missing", ""),
    ("ready: {http: healthz}", "5:19", "ready.http", "a wrong", "/healthz"),
    ("ready: {http: 'http://x/ok'}", "5:19", "ready.http", "a wrong", "/healthz"),
    ("ready: {http: /a b}", "5:19", "ready.http", "a wrong value", ""),
    ("ready: {http: /a, tcp: x}", "5:23", "ready", "exclude each other", ""),
    ("ready: {http: /a, port: web}", "5:29", "ready.port", "no port `web`", "ports"),
    ("ready: {tcp: web}", "5:18", "ready.tcp", "no port `web`", "ports"),
    ("ports: {a: auto}\nready: {http: /a}", "6:19", "ready.http", "no port", "ports"),
    ("ready: {notify: 'true'}", "5:21", "ready.notify", "a wrong value", "true"),
    ("ready: {notify: yes}", "5:21", "ready.notify", "a wrong value", "true"),
    ("ready: {notify: false}", "5:21", "ready.notify", "a wrong value", "true"),
    ("ready: {notify: true, port: x}", "5:33", "ready.port", "only `http` asks", ""),
    ("ready: {exec: check}", "5:19", "ready.exec", "a wrong value", "[check]"),
    ("alive: {notify: true, timeout: 5}", "5:36", "alive.timeout", "needs", "5s"),
    ("alive: {notify: true, failures: 0}", "5:37", "alive.failures", "a wrong", ""),
    ("start_timeout: 0s", "5:20", "start_timeout", "a wrong value", ""),
    ("start_timeout: forever", "5:20", "start_timeout", "not a duration", ""),
    ("shutdown: 10", "5:15", "shutdown", "needs its unit", "10s"),
    ("shutdown: kill", "5:15", "shutdown", "not a duration", ""),
    ("shutdown: {signal: SIGKILL}", "5:24", "shutdown.signal", "a wrong", ""),
    ("shutdown: {signal: INT}", "5:24", "shutdown.signal", "a wrong", "SIGINT"),
    ("shutdown: {signal: 15}", "5:24", "shutdown.signal", "a wrong value", ""),
    ("criticality: high", "5:18", "criticality", "a wrong value", "critical"),
    ("env: [A=1]", "5:10", "env", "a wrong value", ""),
    ("env: {A: }", "5:13", "env.A", "a wrong value", ""),
    ("env: {A: [1]}", "5:14", "env.A", "a wrong value", ""),
    ("env: {A-B: 1}", "5:11", "env.A-B", "a wrong name", ""),
    ("env: {A: 1, A: 2}", "5:17", "A", "a duplicate key", ""),
    ("env: {A: null}", "5:14", "env.A", "a wrong value", '"null"'),
    ("env: {A: '${UNSET}'}", "5:14", "env.A", "UNSET is not set", "default"),
    ("env: {A: '${A B}'}", "5:14", "env.A", "starts neither", "$${"),
    ("env_file: none.env", "5:15", "env_file", "no such file", ""),
    ("env_file: work", "5:15", "env_file", "a folder, not a file", ""),
    ("env_file: ''", "5:15", "env_file", "a wrong value", ""),
    ("params: [1]", "5:13", "params", "a wrong value", ""),
    ("params: {a: on}", "5:17", "params.a", "disagree", '"on"'),
    ("params: {a: 1e3}", "5:17", "params.a", "disagree", "1000.0"),
    ("params: {a: 1:30}", "5:17", "params.a", "disagree", '"1:30"'),
    ("params: {a: [2024-01-31]}", "5:18", "params.a[0]", "disagree", "2024"),
    ("params: {a: {b: 010}}", "5:21", "params.a.b", "disagree", "`10`"),
    ("params: {a: .nan}", "5:17", "params.a", "disagree", '".nan"'),
    ("params: {a: !!int 3}", "5:17", "", "tags are not supported", ""),
    ("ports: {http: 0}", "5:19", "ports.http", "a wrong value", ""),
    ("ports: {http: 70000}", "5:19", "ports.http", "a wrong value", ""),
    ("ports: {http: Auto}", "5:19", "ports.http", "a wrong value", "auto"),
    ("ports: {my port: auto}", "5:13", "ports.my port", "a wrong name", "my-port"),
    ("ports: [8080]", "5:12", "ports", "a wrong value", ""),
    ("ports: {a: 80, b: 80}", "5:12", "ports.b", "is that of p/s.a already", "auto"),
    ("folder: nowhere", "5:13", "folder", "no such folder", ""),
    ("folder: steps.py", "5:13", "folder", "not a folder", ""),
    ("folder: ~/x", "5:13", "folder", "no such folder", ""),
    ("folder: " + "x" * 300, "5:13", "folder", "cannot be used", ""),
    ("owner: [a]", "5:12", "owner", "a wrong value", ""),
    ("description:", "5:17", "description", "a wrong value", ""),
    ("1: 2", "5:5", "1", "an unknown key", ""),
    ("RUN: steps:ingest", "5:5", "RUN", "an unknown key", "run"),
]  # fmt: skip
SEGMENTS = [*ALONE, *((f"run: steps:ingest\n{case[0]}", *case[1:]) for case in WITH_RUN)]

# (whole file, line:column, key, part of the message)
WHOLE = [
    ("children: {s: {run: 'steps:ingest'}}\n", "1:1", "", "the key `pipeline` is missing"),
    ("pipeline: p\n", "1:1", "", "the key `children` is missing"),
    ("pipeline: p\nchildren:\n", "2:10", "children", "a wrong value"),
    ("pipeline:\nchildren: {s: {run: 'steps:ingest'}}\n", "1:10", "pipeline", "a wrong value"),
    ("pipeline: [p]\nchildren: {s: {run: 'steps:ingest'}}\n", "1:11", "pipeline", "a wrong value"),
    ("pipeline: a/b\nchildren: {s: {run: 'steps:ingest'}}\n", "1:11", "pipeline", "a wrong value"),
    ("name: p\nchildren: {s: {run: 'steps:ingest'}}\n", "1:1", "name", "an unknown key"),
    ("pipeline: p\nrestart: permanent\nchildren: {s: {run: 'steps:ingest'}}\n", "2:1", "restart", "an unknown"),
    ("pipeline: p\nsteps: {}\nchildren: {s: {run: 'steps:ingest'}}\n", "2:1", "steps", "an unknown key"),
    ("pipeline: p\nchildren: {s: {run: 'steps:ingest'}, s: {run: 'steps:ingest'}}\n", "2:38", "s", "a duplicate"),
    ("pipeline: p\nchildren: {s: text}\n", "2:15", "children.s", "not a node"),
    ("pipeline: p\nchildren: {s: {<<: 3, run: 'steps:ingest'}}\n", "2:20", "<<", "`<<` takes a mapping"),
    ("pipeline: p\nchildren: &c {s: *c}\n", "2:18", "", "an anchor that contains itself"),
    (("pipeline: p\nchildren: {a: {run: 'steps:ingest', ports: {x: 80}}, b: {run: 'steps:ingest',"
     " ports: {x: 80}}}\n"), "2:86", "children.b.ports.x", "the port 80 is that of p/a.x"),
    ("pipeline: p\r\nchildren:\r\n  s: {run: x}\r\n", "3:12", "children.s.run", "a wrong value"),
]  # fmt: skip


def keys_and_values():
    """Yield every line of the example that holds a key: its number, and the parts of the line."""
    for number, line in enumerate(LINES):
        match = KEY_LINE.fullmatch(line)
        if match and not match["key"].startswith("x-"):
            yield number, match["indent"], match["key"], (match["value"] or "").strip()


FREE_KEYS = {"train", "watch", "BATCH", "SWITCH", "rate", "layers", "name"}
"""Keys of the example that are names nobody else refers to: renaming them is no mistake."""
ANY_VALUE = {"rate", "layers", "name"}


def with_line(number, *lines):
    return "\n".join([*LINES[:number], *lines, *LINES[number + 1 :]]) + "\n"


def mutations():
    """Yield a name and a text for every way of breaking every line of the example."""
    for number, indent, key, value in keys_and_values():
        where = f"line {number + 1}, {key}"
        if key not in FREE_KEYS and key != "<<":
            yield f"{where}: misspelt", with_line(number, f"{indent}{key}q: {value}")
        if value:
            yield f"{where}: twice", with_line(number, LINES[number], LINES[number])
            yield f"{where}: no value", with_line(number, f"{indent}{key}:")
        if value and key not in ANY_VALUE:
            yield f"{where}: a mapping", with_line(number, f"{indent}{key}: {{bad: 1}}")
            yield f"{where}: a list", with_line(number, f"{indent}{key}: [[1]]")
        if indent:
            yield f"{where}: a tab", with_line(number, f"\t{indent}{key}: {value}")
        yield f"{where}: cut", "\n".join([*LINES[:number], f"{indent}{key}: [", ""])


MUTATIONS = dict(mutations())


def refused(text, folder, capsys):
    """Validate a text by the command itself; return the problems that it prints."""
    file = folder / "pipeline.yaml"
    file.write_bytes(text.encode())
    with pytest.raises(SystemExit) as ended:
        psup.main(["validate", str(file)])
    printed = capsys.readouterr()
    assert ended.value.code == 2, printed
    assert re.fullmatch(r"psup: the pipeline cannot be launched, \d+ problems?\n", printed.err)
    problems = printed.out.splitlines()
    for problem in problems:
        assert re.match(re.escape(str(folder)) + r"/[^:]+:\d+:\d+: ", problem), problem
    return problems


def test_there_are_enough_malformed_files():
    """Two hundred were promised."""
    assert len(SEGMENTS) + len(WHOLE) > 150
    assert len(MUTATIONS) > 200


@pytest.mark.parametrize("case", SEGMENTS, ids=lambda case: case[0].replace("\n", " | ")[:70])
def test_a_malformed_segment_is_refused_at_its_place(case, folder, capsys):
    """The first problem has the place, the key path, the reason and the suggestion expected."""
    lines, place, key, message, suggestion = case
    first = refused(one_segment(lines), folder, capsys)[0]
    path = f"children.s.{key}" if key else "children.s"
    assert first.startswith(f"{folder}/pipeline.yaml:{place}: ")
    assert f": {path}: " in first or message in {"a duplicate key", "tags are not supported"}
    assert message in first
    assert not suggestion or (
        "did you mean" in first and suggestion in first.split("did you mean")[1]
    )


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case[0].replace("\n", " | ")[:70])
def test_a_malformed_file_is_refused_at_its_place(case, folder, capsys):
    """The first problem has the place, the key path and the reason expected."""
    text, place, key, message = case
    first = refused(text, folder, capsys)[0]
    assert first.startswith(f"{folder}/pipeline.yaml:{place}: " + (f"{key}: " if key else ""))
    assert message in first


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_line_is_refused(name, folder, capsys):
    """However a line of a valid file is broken, the problem is at that line or follows from it."""
    assert refused(MUTATIONS[name], folder, capsys)
