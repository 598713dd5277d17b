"""Every key of a pipeline file and of a policy: one table each, read by all who need to know.

Decides the vocabulary. The loader reads files with these tables, `schema.py` turns them into JSON
Schema, and the reference in `docs/yaml.md` is generated from them; a key exists for all three or
for none. Defaults are taken from the specs themselves, so they cannot be documented wrongly.
Rules that involve several keys stand in `build.py`.
Read next: `shapes.py` (what a shape accepts), `build.py` (what becomes of the values).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from supervisor.config.document import Node, Table
from supervisor.config.problems import closest, listed, shown
from supervisor.config.records import Key, ListOf, MapOf, Record
from supervisor.config.shapes import (
    Anything,
    Cores,
    Duration,
    Failure,
    Flag,
    Json,
    Number,
    Port,
    Reading,
    Size,
    Text,
    Word,
    ticked,
)
from supervisor.config.units import format_duration
from supervisor.core.spec import (
    AutoShutdown,
    Backoff,
    Criticality,
    Kind,
    Probe,
    Restart,
    RestartRate,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)

NAME_PATTERN = "[A-Za-z0-9][A-Za-z0-9_-]{0,62}"
MIB = 2**20

_BACKOFF, _PROBE, _SEGMENT = Backoff(), Probe(how="notify"), SegmentSpec(name="")
_SHUTDOWN, _SUPERVISOR, _RATE = Shutdown(), SupervisorSpec(name=""), RestartRate()


def _as_name(text: str) -> str:
    """Suggest a name for what is none: `my model` becomes `my-model`."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-_")[:63]
    return name if re.fullmatch(NAME_PATTERN, name) else ""


def _as_target(text: str) -> str:
    """Suggest `module:callable` for a file name or a dotted path."""
    if text.endswith(".py"):
        return f"{text.removesuffix('.py').replace('/', '.').strip('.')}:main"
    module, _, name = text.rpartition(".")
    return f"{module}:{name}" if module else f"{text}:main" if text.isidentifier() else ""


def _as_cause(text: str) -> str:
    """Suggest a cause for `error(ValueError)`, `SIGKILL`, `42`, `ValueError` or a typing error."""
    kind, _, exact = text.replace("(", "[").rstrip(")]").partition("[")
    if kind in _EXACT and exact:
        return f"{kind}[{exact}]"
    if text.startswith("SIG"):
        return f"signal[{text}]"
    if text.isdecimal():
        return f"exit[{text}]"
    meant = {"memory": "oom", "crash": "error", "exception": "error", "timeout": "deadline"}
    near = meant.get(text) or closest(text, CAUSES)
    return near or (f"error[{text}]" if text[:1].isupper() and text.isidentifier() else "")


def _as_factor(text: str) -> str:
    number = re.fullmatch(r"\*?([0-9]{1,3}(?:\.[0-9]{1,3})?)x?", text)
    percent = re.fullmatch(r"\+?([0-9]{1,3})%", text)
    if percent:
        return f"x{1 + int(percent[1]) / 100:g}"
    return f"x{number[1]}" if number else ""


def _as_signal(text: str) -> str:
    return closest(f"SIG{text.upper().removeprefix('SIG')}", STOP_SIGNALS)


# SIGKILL asks nobody, SIGSTOP and SIGCONT end nobody, SIGCHLD is ignored by nearly everybody.
STOP_SIGNALS = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGABRT")

NAME = Text(
    "a name of letters, digits, `-` and `_`, at most 63, the first a letter or digit",
    NAME_PATTERN,
    _as_name,
)
ENV_NAME = Text("a variable name of letters, digits and `_`", "[A-Za-z_][A-Za-z0-9_]*")
_IDENTIFIERS = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
TARGET = Text("`module:callable`", f"{_IDENTIFIERS}:{_IDENTIFIERS}", _as_target)
ARGUMENTS = ListOf(Text(), "a list: the program and its arguments, `[python, train.py]`")
ANY_DURATION = Duration(low_s=0)


@dataclass(frozen=True, slots=True)
class Nodes:
    """The children of a supervisor, in start order; each is read by `build.py` once it is whole."""

    expected: str = "a mapping of names to segments and supervisors"

    def read(self, node: Node, key: str, reading: Reading) -> Any:
        """Return the children as they stand, those with a wrong name left out."""
        if not isinstance(node, Table):
            return reading.refuse(node, key, self)
        if not node.entries:
            return reading.error(node, key, "a supervisor has at least one child")
        for name, entry in node.entries.items():
            mark, inner = entry.key_mark, f"{key}.{name}"
            if name.startswith("x-"):
                hint = "the same key one level up, beside `children`"
                message = "`x-` keys are not children"
                reading.error(mark, inner, message, found=shown(name), suggestion=hint)
            elif not re.fullmatch(NAME_PATTERN, name, re.ASCII):
                allowed, meant = NAME.expected, ticked(_as_name(name))
                reading.error(
                    mark,
                    inner,
                    "a wrong name",
                    found=shown(name),
                    allowed=allowed,
                    suggestion=meant,
                )
        return node

    def schema(self) -> Json:
        """Return a mapping of nodes; a node with `children` is a supervisor."""
        return {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": f"^(?!x-){NAME_PATTERN}$"},
            "additionalProperties": {
                "if": {"type": "object", "required": ["children"]},
                "then": {"$ref": "#/$defs/supervisor"},
                "else": {"$ref": "#/$defs/segment"},
            },
        }


# -------------------------------------------------------------------------------- restart, limits

RESTART_TYPE = Key(
    Word(
        tuple(Restart),
        {
            "always": "permanent",
            "unless-stopped": "permanent",
            "true": "permanent",
            "on-failure": "transient",
            "on_failure": "transient",
            "never": "temporary",
            "no": "temporary",
            "false": "temporary",
        },
    ),
    "`permanent`: after every exit; `transient`: after a failure; `temporary`: never.",
    "`transient` for a task, `permanent` for a service",
    ("policy", "when"),
)

BACKOFF = Record(
    "backoff",
    {
        "first": Key(
            ANY_DURATION,
            "Delay before the first restart in a row.",
            format_duration(_BACKOFF.first_s),
            ("initial", "min", "delay", "base"),
        ),
        "factor": Key(
            Number(1, 100, whole=False),
            "Growth of the delay from one restart to the next.",
            f"{_BACKOFF.factor:g}",
            ("multiplier", "exponent", "rate"),
        ),
        "max": Key(
            ANY_DURATION,
            "Longest delay, before jitter.",
            format_duration(_BACKOFF.max_s),
            ("cap", "limit", "maximum", "max_delay"),
        ),
        "jitter": Key(
            Number(0, 1, whole=False),
            "Share of the delay by which it is spread both ways, so that restarts do not coincide.",
            f"{_BACKOFF.jitter:g}",
            ("spread", "random"),
        ),
        "reset_after": Key(
            Duration(),
            "A run that stays healthy this long ends the row: the next delay is `first` again.",
            format_duration(_BACKOFF.reset_after_s),
            ("reset", "stable", "healthy"),
        ),
    },
)

_BACKOFF_KEY = Key(
    BACKOFF, "Delay before the next start, growing from try to try.", "see `backoff`", ("delay",)
)

RESTART = Record(
    "restart",
    {
        "type": RESTART_TYPE,
        "backoff": _BACKOFF_KEY,
        "max_restarts": Key(
            Number(0, 1_000_000),
            "The segment's own limit: one restart more inside `max_seconds`, and it gives up.",
            "no limit but the supervisor's",
            ("retries", "max_retries", "attempts", "intensity", "limit"),
        ),
        "max_seconds": Key(
            Duration(words={"forever": None}, bare_seconds=True),
            "The window of `max_restarts`. With `forever`, only a healthy run of"
            " `backoff.reset_after` clears the count.",
            "`forever`",
            ("period", "window", "within"),
        ),
        "never_on": Key(
            ListOf(
                Failure(),
                "a list of exception types and exit codes, `[ValueError, 2]`",
                unique=True,
            ),
            "Failures that a second try cannot mend: the segment gives up at once.",
            "none",
            ("except", "fatal", "no_retry_on"),
        ),
    },
    short="type",
)

SUPERVISOR_RESTART = Record(
    "supervisor_restart",
    {
        "type": replace(
            RESTART_TYPE,
            doc="`permanent`: it is started again; `temporary`: it stays down. Giving up is a clean"
            " end, as in OTP, so `transient` stays down too.",
            default=f"`{_SUPERVISOR.restart}`",
        ),
        "backoff": _BACKOFF_KEY,
    },
    short="type",
)

QUOTA = Record(
    "quota",
    {
        "memory": Key(
            Size(8 * MIB),
            "Memory of the whole process tree, shared memory included.",
            "unlimited",
            ("mem", "ram", "memory_max", "memory_limit", "max_memory"),
        ),
        "cpu": Key(
            Cores(0.01),
            "Processor cores, over any tenth of a second.",
            "unlimited",
            ("cpus", "cores", "num_cpus"),
        ),
        "processes": Key(
            Number(1, 4_194_304),
            "Processes and threads at one time.",
            "unlimited",
            ("pids", "procs", "threads", "tasks", "nproc"),
        ),
        "open_files": Key(
            Number(16, 2**30),
            "Open files and sockets of each process.",
            "as the daemon's",
            ("files", "nofile", "fds", "max_open_files"),
        ),
        "disk": Key(
            Size(MIB),
            "Bytes in the scratch and checkpoint folders together.",
            "unlimited",
            ("storage", "disk_space", "scratch"),
        ),
        "time": Key(
            Duration(),
            "Longest run of one incarnation; then it is stopped and counts as failed (`deadline`).",
            "unlimited",
            ("timeout", "deadline", "wall_time", "max_time", "duration"),
        ),
        "gpu": Key(
            Number(0, 1024, whole=False),
            "GPUs reserved through Ray; below 1 a share of one, above 1 whole ones.",
            "none",
            ("gpus", "num_gpus", "cuda"),
        ),
        "log": Key(
            Size(4096),
            "Size at which a log is rotated; the oldest part goes.",
            "the program's own",
            ("logs", "log_size", "max_log"),
        ),
    },
)

# --------------------------------------------------------------------------------------- by cause

CAUSES = (
    "error",
    "exit",
    "signal",
    "oom",
    "quota",
    "deadline",
    "hang",
    "start_timeout",
    "node_lost",
)
"""The abnormal exits that there are."""
_EXACT = {
    "error": r"[A-Za-z_][A-Za-z0-9_.]*",
    "exit": r"[1-9][0-9]{0,2}",
    "signal": r"SIG[A-Z0-9]+",
    "quota": r"[a-z_]+",
}
CAUSE = Text(
    f"a cause, {listed(CAUSES)}, or exactly one, such as `error[ValueError]`, `exit[42]` or"
    " `signal[SIGKILL]`",
    "|".join([*CAUSES, *(rf"{kind}\[{exact}\]" for kind, exact in _EXACT.items())]),
    _as_cause,
)
GROWING = ("memory", "cpu", "processes", "disk", "time")
_FACTOR = Text("a factor such as `x1.5`", r"x[0-9]{1,3}(?:\.[0-9]{1,3})?", _as_factor)

GROW = Record(
    "grow",
    {
        **{
            name: Key(_FACTOR, f"Factor by which `quota.{name}` grows.", "none") for name in GROWING
        },
        "up_to": Key(
            Text("a value of that quota"),
            "Never more than this; written as the quota is.",
            "no cap",
            ("max", "cap", "limit", "most"),
        ),
    },
    choice=GROWING,
)

ON_EXIT = Record(
    "on_exit",
    {
        "then": Key(
            Word(
                ("restart", "give_up"), {"retry": "restart", "never": "give_up", "fail": "give_up"}
            ),
            "`restart`: as `restart` says; `give_up`: it stays down, and nothing beside it is"
            " touched.",
            "`restart`",
            ("action", "do"),
        ),
        "tries": Key(
            Number(0, 1_000_000),
            "Restarts in a row after this cause. They count against no other limit; one more, and"
            " the segment gives up.",
            "the limits of `restart` and of the supervisor",
            ("max_restarts", "retries", "attempts", "limit"),
        ),
        "grow": Key(
            GROW,
            "A quota that grows from try to try, from what it is then.",
            "nothing",
            ("scale", "increase", "quota"),
        ),
        "env": Key(
            MapOf(ENV_NAME, Text(), "a mapping of variable names to `half`, `double` or a text"),
            "What is different for the next attempt: half or double of a whole number in `env`, or"
            " another text.",
            "nothing",
            ("environment", "vars", "variables"),
        ),
    },
    short="then",
)

RESTART_RATE = Record(
    "restart_rate",
    {
        "burst": Key(
            Number(1, 1_000_000), "Restarts that may come at once.", str(_RATE.burst), ("size",)
        ),
        "per_second": Key(
            Number(0.001, 10_000, whole=False),
            "Restarts that become allowed per second after that.",
            f"{_RATE.per_second:g}",
            ("rate", "refill"),
        ),
    },
)

# ---------------------------------------------------------------------------------------- health

PROBE = Record(
    "probe",
    {
        "http": Key(
            Text(
                "an absolute path such as `/healthz`",
                r"/[^\s#]*",
                lambda text: "/healthz" if "://" in text else f"/{text}",
            ),
            "Ask this path on `port`; any 2xx or 3xx answer is healthy.",
            "none",
            ("url", "path", "http_get", "get"),
        ),
        "tcp": Key(NAME, "Connect to the port of this name.", "none", ("socket", "tcp_socket")),
        "exec": Key(
            ARGUMENTS, "Run this program; exit code 0 is healthy.", "none", ("cmd", "test")
        ),
        "notify": Key(
            Flag(),
            "The body tells it itself, over systemd's notify protocol: `READY=1`, `WATCHDOG=1`.",
            "none",
            ("systemd", "sd_notify", "heartbeat", "watchdog"),
        ),
        "port": Key(NAME, "Name of the port that `http` asks.", f"`{_PROBE.port}`", ("port_name",)),
        "period": Key(
            Duration(),
            "Time from one ask to the next.",
            format_duration(_PROBE.period_s),
            ("interval", "every", "period_seconds"),
        ),
        "timeout": Key(
            Duration(),
            "Time for one answer.",
            format_duration(_PROBE.timeout_s),
            ("timeout_seconds", "deadline"),
        ),
        "failures": Key(
            Number(1, 1000),
            "Asks in a row that must fail before the body counts as unhealthy.",
            str(_PROBE.failures),
            ("retries", "failure_threshold", "threshold"),
        ),
    },
    choice=("http", "tcp", "exec", "notify"),
)
PROBE_SETTINGS = replace(PROBE, title="probe_settings", choice_needed=False)
"""A probe in a policy: it may leave open how to ask, and then only helps those who say it."""

_STOP_WORDS = {"infinity": None, "brutal_kill": 0.0}
SHUTDOWN = Record(
    "shutdown",
    {
        "grace": Key(
            Duration(low_s=0, words=_STOP_WORDS),
            "Time between the signal and the kill. `brutal_kill` gives none, `infinity` never"
            " kills.",
            format_duration(_SHUTDOWN.grace_s or 0),
            ("timeout", "grace_period", "wait", "stopwaitsecs"),
        ),
        "signal": Key(
            Text(listed(STOP_SIGNALS), "|".join(STOP_SIGNALS), _as_signal),
            "The signal that asks the body to go.",
            f"`{_SHUTDOWN.signal}`",
            ("sig", "stop_signal", "stopsignal"),
        ),
    },
    short="grace",
)

# ----------------------------------------------------------------------------------------- nodes

_NOTES = {
    "owner": Key(
        Text(), "Who answers for it; shown by `why` and `show`.", "none", ("team", "contact")
    ),
    "runbook": Key(
        Text(), "What to read when it fails, usually an address.", "none", ("docs", "url", "link")
    ),
    "description": Key(Text(), "What it is for.", "none", ("desc", "doc", "comment", "title")),
}

_LIMITS = {
    "strategy": Key(
        Word(
            tuple(Strategy),
            {"isolate": "one_for_one", "cascade": "rest_for_one", "all": "one_for_all"},
        ),
        "Who goes down with a child that is restarted: nobody (`one_for_one`), those after it"
        " (`rest_for_one`), all its siblings (`one_for_all`).",
        f"`{_SUPERVISOR.strategy}`",
    ),
    "max_restarts": Key(
        Number(0, 1_000_000),
        "One restart more than this inside `max_seconds`, and the supervisor gives up.",
        str(_SUPERVISOR.max_restarts),
        ("intensity", "retries", "max_retries"),
    ),
    "max_seconds": Key(
        Duration(bare_seconds=True),
        "The window of `max_restarts`; a bare number is seconds, as its name says.",
        format_duration(_SUPERVISOR.max_seconds),
        ("period", "window", "within"),
    ),
    "auto_shutdown": Key(
        Word(tuple(AutoShutdown), {"any": "any_significant", "all": "all_significant"}),
        "Whether it ends, and all below it, when its `significant` children have ended by"
        " themselves and for good: one of them, or the last.",
        f"`{_SUPERVISOR.auto_shutdown}`",
        ("shutdown_when", "ends_with"),
    ),
}

_SIGNIFICANT = Key(
    Flag(),
    "Its end is a reason for its supervisor to end; see `auto_shutdown` there.",
    "no",
    ("essential", "main"),
)

_CHILDREN = Key(
    Nodes(),
    "The nodes below, in start order; stop order is its reverse. A node with `children` is a"
    " supervisor, any other a segment.",
    meant=("segments", "services", "steps", "jobs", "processes", "stages", "child"),
)

ROOT = Record(
    "pipeline",
    {
        "pipeline": Key(NAME, "The pipeline's name, first part of every path.", meant=("name",)),
        **_LIMITS,
        "restart_rate": Key(
            RESTART_RATE,
            "How fast anything in the pipeline is restarted; more than that waits for its turn.",
            "see `restart_rate`",
            ("rate_limit", "throttle"),
        ),
        "children": _CHILDREN,
        **_NOTES,
    },
    required=("pipeline", "children"),
)

SUPERVISOR = Record(
    "supervisor",
    {
        **_LIMITS,
        "restart": Key(
            SUPERVISOR_RESTART,
            "What the parent does when this supervisor has given up. `temporary` is a bulkhead:"
            " the branch stays down and nothing else is touched.",
            "`permanent`",
            ("restart_policy",),
        ),
        "significant": _SIGNIFICANT,
        "children": _CHILDREN,
        **_NOTES,
    },
    required=("children",),
)

_POLICY_KEYS = {
    "restart": Key(
        RESTART,
        "When and how often it is started again; a word is short for `{type: word}`.",
        "by `kind`",
        ("restart_policy", "autorestart", "retry", "retries"),
    ),
    "on_exit": Key(
        MapOf(CAUSE, ON_EXIT, "a mapping of causes to `restart`, `give_up` or settings", least=1),
        "What follows a failure of one cause; the most exact one holds. A word is short for"
        " `{then: word}`.",
        "as `restart` says; `node_lost: {tries: 10}`",
        ("on_failure", "on_error", "by_cause"),
    ),
    "quota": Key(
        QUOTA,
        "Upper bounds on what its process tree uses.",
        "unlimited",
        ("resources", "limits", "quotas", "resource"),
    ),
    "ready": Key(
        PROBE,
        "When it counts as ready, and so may be waited for by `after`.",
        "as soon as its code runs",
        ("readiness", "readiness_probe", "startup"),
    ),
    "alive": Key(
        PROBE,
        "When it counts as hung and is restarted.",
        "never asked",
        ("liveness", "liveness_probe", "health", "healthcheck", "health_check", "heartbeat"),
    ),
    "start_timeout": Key(
        Duration(),
        "Time from the order to start until it is ready.",
        format_duration(_SEGMENT.start_timeout_s),
        ("startup_timeout", "startsecs", "start_deadline"),
    ),
    "shutdown": Key(
        SHUTDOWN,
        "How it is asked to go; a duration or word is short for `{grace: …}`.",
        format_duration(_SHUTDOWN.grace_s or 0),
        ("stop", "grace", "stop_timeout", "stopwaitsecs", "termination"),
    ),
    "criticality": Key(
        Word(tuple(Criticality), {"high": "critical", "low": "best_effort", "default": "normal"}),
        "Who goes first when the node itself runs low; `critical` goes last.",
        f"`{_SEGMENT.criticality}`",
        ("priority", "importance", "nice"),
    ),
}

SEGMENT = Record(
    "segment",
    {
        "kind": Key(
            Word(tuple(Kind), {"job": "task", "batch": "task", "daemon": "service"}),
            "`task` runs to an end, `service` until it is stopped.",
            f"`{_SEGMENT.kind}`",
            ("type",),
        ),
        "replicas": Key(
            Number(1, 10_000),
            "Run so many instances, `name/0`, `name/1`, …, which start and stop side by side;"
            " `psup scale name=3` changes their number. Ports must be `auto`.",
            "one segment, which cannot be scaled",
            ("instances", "count", "scale", "numprocs"),
        ),
        "max_children": Key(
            Number(1, 10_000),
            "How many instances there may be at most.",
            "no limit",
            ("max_replicas", "max_instances"),
        ),
        "run": Key(
            TARGET,
            "A Python callable, found beside the pipeline file or on the path; it is called with"
            " a `Context`.",
            "none",
            ("entry", "entrypoint", "function", "callable", "target", "module", "class"),
        ),
        "command": Key(
            ARGUMENTS,
            "A program and its arguments; no shell reads them.",
            "none",
            ("cmd", "args", "exec", "script", "program", "shell"),
        ),
        "after": Key(
            ListOf(
                Text("the name or path of a node", f"{NAME_PATTERN}(?:/{NAME_PATTERN})*"),
                "a list of names, `[features]`",
                least=0,
                unique=True,
            ),
            "Nodes whose completion (task) or readiness (service) is awaited first: a sibling's"
            " name, a name that is unique in the pipeline, or a path; a supervisor stands for all"
            " its segments.",
            "nothing",
            ("depends_on", "needs", "requires", "wait_for", "depends", "upstream", "dependencies"),
        ),
        "policy": Key(
            NAME,
            "Name of a policy whose settings hold where the segment says nothing itself.",
            "none",
            ("policies", "profile", "extends", "template"),
        ),
        **_POLICY_KEYS,
        "significant": _SIGNIFICANT,
        "env": Key(
            MapOf(ENV_NAME, Text(), "a mapping of variable names to texts"),
            "Variables on top of those of the launching terminal; never shown or stored.",
            "none",
            ("environment", "envs", "environ", "vars", "variables"),
        ),
        "env_file": Key(
            Text("the name of a file", r"[\s\S]+"),
            "A file of `NAME=value` lines, looked for beside the pipeline file; `env` wins.",
            "none",
            ("envfile", "dotenv"),
        ),
        "params": Key(
            MapOf(Text(), Anything(), "a mapping of names to values"),
            "What the code gets as `ctx.params` and, as JSON, in `PSUP_PARAMS`.",
            "none",
            ("parameters", "config", "options", "arguments", "kwargs", "with"),
        ),
        "ports": Key(
            MapOf(NAME, Port(), "a mapping of port names to `auto` or a number"),
            "Ports it listens on; `auto` is a free loopback port, the same over all restarts."
            " Given as `PSUP_PORT_<NAME>`.",
            "`http: auto` if a probe asks `http`, else none",
            ("port", "listen", "expose"),
        ),
        "folder": Key(
            Text("the name of a folder", r"[\s\S]+"),
            "Working folder.",
            "the pipeline file's",
            ("cwd", "workdir", "working_dir", "directory", "dir", "working_directory"),
        ),
        **_NOTES,
    },
    choice=("run", "command"),
)

POLICY = Record(
    "policy",
    {
        "description": _NOTES["description"],
        **_POLICY_KEYS,
        "ready": replace(_POLICY_KEYS["ready"], shape=PROBE_SETTINGS),
        "alive": replace(_POLICY_KEYS["alive"], shape=PROBE_SETTINGS),
    },
)

RECORDS = (
    ROOT,
    SUPERVISOR,
    SEGMENT,
    RESTART,
    BACKOFF,
    SUPERVISOR_RESTART,
    RESTART_RATE,
    ON_EXIT,
    GROW,
    QUOTA,
    PROBE,
    SHUTDOWN,
)
"""All tables of a pipeline file, in the order of the reference."""
