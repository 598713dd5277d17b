"""From the located tree of a file to the spec of a pipeline.

Decides what is left when every key by itself is right: rules that involve several keys or several
nodes (`after`, ports, budgets, folders), defaults that depend on the kind, and how a policy is laid
under a segment. Goes through the whole tree whatever it finds, so that all problems come at once;
a spec made from a wrong file is thrown away by the caller.
Read next: `keys.py` (what each key may be), `names.py` (what `after` means).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from supervisor.config import code
from supervisor.config.causes import rules_of
from supervisor.config.document import Entry, Items, Node, Table, describe
from supervisor.config.env_file import parse_env_file
from supervisor.config.files import read_small_file
from supervisor.config.keys import NAME, PROBE, ROOT, SEGMENT, SUPERVISOR
from supervisor.config.names import Names, UnclearNameError, find_cycles, is_supervisor, names_of
from supervisor.config.policies import Policies
from supervisor.config.problems import Findings, Mark, Problem, shown
from supervisor.config.records import Fields
from supervisor.config.shapes import INVALID, Reading, ticked
from supervisor.config.units import format_duration
from supervisor.core.spec import (
    AutoShutdown,
    Backoff,
    Body,
    Budget,
    Criticality,
    Health,
    Kind,
    NodeSpec,
    Notes,
    Probe,
    Quota,
    Restart,
    RestartRate,
    SegmentSpec,
    Shutdown,
    Strategy,
    SupervisorSpec,
)
from supervisor.core.spec import Path as NodePath
from supervisor.core.templates import templated, waiting_for_all

_HOWS = PROBE.choice
_HEALTH = ("ready", "alive")
_NO_FOLDER = "no such folder"


def build(root: Table, folder: Path, reading: Reading) -> SupervisorSpec:
    """Return the pipeline that a file declares; its problems are in `reading.findings`.

    Args:
        root: the top level of the file, overrides applied.
        folder: absolute folder of the file.
        reading: the environment and the place for problems.
    """
    return _Builder(root, folder, reading).pipeline()


@dataclass(slots=True)
class _Awaited:
    """One name in an `after`: who waits for whom, and where it says so."""

    by: NodePath
    segments: tuple[NodePath, ...]
    mark: Mark
    key: str


@dataclass(slots=True)
class _Builder:
    root: Table
    folder: Path
    reading: Reading
    policies: Policies = field(init=False)
    names: Names = field(init=False)
    awaited: list[_Awaited] = field(default_factory=list)
    templates: dict[NodePath, int] = field(default_factory=dict)  # path -> replicas
    fixed_ports: dict[int, str] = field(default_factory=dict)  # number -> path.name

    def __post_init__(self) -> None:
        self.policies = Policies(self.folder, self.reading)

    def pipeline(self) -> SupervisorSpec:
        fields: Fields = ROOT.read(self.root, "", self.reading)
        name = fields.get("pipeline", "")
        self.names = names_of(self.root, name)
        spec = self._supervisor_of(fields, name, self.names.root)
        self._refuse_cycles()
        if self.templates:
            spec = waiting_for_all(spec, self.templates)
        return replace(spec, restart_rate=_restart_rate(fields.get("restart_rate")))

    # ----------------------------------------------------------------------------- supervisors

    def _node(self, name: str, entry: Entry, path: NodePath, key: str) -> NodeSpec | None:
        node = entry.value
        if not isinstance(node, Table):
            allowed = "a segment (`run` or `command`) or a supervisor (`children`)"
            self.reading.error(node, key, "not a node", found=describe(node), allowed=allowed)
            return None
        if not is_supervisor(node):
            return self._instances(self._segment(name, node, path, key), node, path, key)
        fields: Fields = SUPERVISOR.read(node, key, self.reading)
        return self._supervisor_of(fields, name, path)

    def _supervisor_of(self, fields: Fields, name: str, path: NodePath) -> SupervisorSpec:
        spec = SupervisorSpec(name)
        children = fields.get("children")
        restart: Fields | None = fields.get("restart")
        nodes = children.entries.items() if children else ()
        built = [
            self._node(child, entry, f"{path}/{child}", f"{fields.path('children')}.{child}")
            for child, entry in nodes
        ]
        auto_shutdown = AutoShutdown(fields.get("auto_shutdown", spec.auto_shutdown))
        for node in built:
            if node is not None and node.significant:
                self._check_significant(fields, node, auto_shutdown)
        return replace(
            spec,
            children=tuple(node for node in built if node is not None),
            auto_shutdown=auto_shutdown,
            significant=fields.get("significant", False),
            strategy=Strategy(fields.get("strategy", spec.strategy)),
            max_restarts=fields.get("max_restarts", spec.max_restarts),
            max_seconds=fields.get("max_seconds", spec.max_seconds),
            restart=Restart(restart.get("type", spec.restart) if restart else spec.restart),
            backoff=self._backoff(restart),
            notes=_notes(fields),
        )

    def _check_significant(
        self, above: Fields, node: NodeSpec, auto_shutdown: AutoShutdown
    ) -> None:
        """Refuse a significant child that could never matter, as OTP does and in its order."""
        child = above.get("children").entries[node.name].value
        mark, key = child.value("significant").mark, f"{above.path('children')}.{node.name}"
        if auto_shutdown is AutoShutdown.NEVER:
            message = "its supervisor never shuts down because of a child"
            hint = "`auto_shutdown: any_significant` or `all_significant` on the supervisor"
        elif node.restart is Restart.PERMANENT:
            message = "a permanent child never ends for good"
            hint = "`restart: transient` or `restart: temporary` beside it"
        else:
            return
        self.reading.error(mark, f"{key}.significant", message, suggestion=hint)

    # -------------------------------------------------------------------------------- segments

    def _segment(self, name: str, node: Table, path: NodePath, key: str) -> SegmentSpec:
        fields: Fields = SEGMENT.read(self._with_policy(node, key), key, self.reading)
        kind = Kind(fields.get("kind", Kind.TASK))
        restart: Fields | None = fields.get("restart")
        by_kind = Restart.TRANSIENT if kind is Kind.TASK else Restart.PERMANENT
        restart_type = Restart(restart.get("type", by_kind) if restart else by_kind)
        if kind is Kind.TASK and restart_type is Restart.PERMANENT:
            hint = "`restart: transient`, or `kind: service`"
            self._warn(fields, "restart", "a permanent task runs again when it has completed", hint)
        if restart_type is Restart.TEMPORARY and fields.has("on_exit"):
            self._warn(
                fields, "on_exit", "a temporary segment is never restarted, whatever it says"
            )
        spec = SegmentSpec(name)
        quota, body = self._quota(fields.get("quota")), self._body(fields, path)
        return replace(
            spec,
            kind=kind,
            restart=restart_type,
            after=self._after(fields, path),
            start_timeout_s=fields.get("start_timeout", spec.start_timeout_s),
            backoff=self._backoff(restart),
            budget=self._budget(restart),
            never_on=frozenset(restart.get("never_on", ()) if restart else ()),
            shutdown=_shutdown(fields.get("shutdown")),
            on_exit=rules_of(fields, quota, body.env, self.reading),
            significant=fields.get("significant", False),
            quota=quota,
            health=Health(*(self._probe(fields, part) for part in _HEALTH)),
            criticality=Criticality(fields.get("criticality", spec.criticality)),
            body=body,
            policy=fields.get("policy", ""),
            notes=_notes(fields),
        )

    def _instances(self, segment: SegmentSpec, node: Table, path: NodePath, key: str) -> NodeSpec:
        """Return the segment, or the supervisor of its instances if it has `replicas`."""
        quiet = Reading(self.reading.environment, Findings())  # the segment was read before
        fields: Fields = SEGMENT.read(self._with_policy(node, key), key, quiet)
        if not fields.has("replicas"):
            if fields.has("max_children"):
                mark, where = fields.mark("max_children"), fields.path("max_children")
                self.reading.error(mark, where, "without `replicas` there are no children")
            return segment
        replicas, most = fields.get("replicas", 1), fields.get("max_children")
        mark, where = fields.mark("replicas"), fields.path("replicas")
        if most is not None and replicas > most:
            self.reading.error(mark, where, f"more than `max_children`, {most}")
        if any(segment.body.ports.values()) and replicas > 1:
            message = "only one of them could listen on a port that is named by number"
            self.reading.error(mark, where, message, suggestion="`ports: {http: auto}`")
        if segment.significant:
            mark, where = fields.mark("significant"), fields.path("significant")
            message = "instances come and go, so that none of them is significant"
            self.reading.error(mark, where, message)
        self.templates[path] = replicas
        return templated(segment, replicas, most)

    def _with_policy(self, node: Table, key: str) -> Table:
        """Lay the segment over its policy, if it names one that can be read."""
        named = node.value("policy")
        quiet = Reading(self.reading.environment, Findings())
        name = NAME.read(named, key, quiet) if named is not None else INVALID
        if named is None or name is INVALID:
            return node  # a wrong value is reported with the segment's other keys
        policy = self.policies.find(name, named.mark, f"{key}.policy")
        if policy is None:
            return node
        merged = SEGMENT.overlaid(node, policy)
        return Table(
            {
                name: entry
                for name, entry in merged.entries.items()
                if name not in _HEALTH or name in node.entries or _says_how(entry.value)
            },
            merged.mark,
        )

    def _after(self, fields: Fields, path: NodePath) -> tuple[NodePath, ...]:
        """Return the segments that one waits for, and remember where it says so."""
        named = fields.table.value("after")
        items = named.items if isinstance(named, Items) else ()
        found: dict[NodePath, None] = {}
        for index, (item, name) in enumerate(zip(items, fields.get("after", ()), strict=False)):
            key = f"{fields.path('after')}[{index}]"
            segments = self._segments_named(name, item, path, key)
            self.awaited.append(_Awaited(path, segments, item.mark, key))
            found.update(dict.fromkeys(segments))
        return tuple(found)

    def _segments_named(
        self, name: str, item: Node, path: NodePath, key: str
    ) -> tuple[NodePath, ...]:
        try:
            target = self.names.find(name, siblings_of=path)
        except UnclearNameError as error:
            self.reading.error(
                item,
                key,
                error.message,
                found=describe(item),
                allowed=error.allowed,
                suggestion=ticked(error.suggestion),
            )
            return ()
        if target == path or path.startswith(f"{target}/"):
            reason = "itself" if target == path else f"`{target}`, which it is part of"
            self.reading.error(item, key, f"a segment cannot wait for {reason}")
            return ()
        return self.names.segments_below(target)

    def _refuse_cycles(self) -> None:
        after: dict[NodePath, list[NodePath]] = {}
        for awaited in self.awaited:
            after.setdefault(awaited.by, []).extend(awaited.segments)
        for cycle in find_cycles(after):
            first, second = cycle[:2]
            said = next(a for a in self.awaited if a.by == first and second in a.segments)
            below_root = [path.removeprefix(f"{self.names.root}/") for path in cycle]
            around = " → ".join(below_root)
            self.reading.error(said.mark, said.key, f"a cycle, so none could ever start: {around}")

    # ------------------------------------------------------------------------- restart and quota

    def _backoff(self, restart: Fields | None) -> Backoff:
        fields: Fields | None = restart.get("backoff") if restart else None
        if fields is None:
            return Backoff()
        default = Backoff()
        first_s = fields.get("first", default.first_s)
        max_s = fields.get("max", default.max_s)
        if first_s > max_s:
            at = "first" if fields.has("first") else "max"
            message = f"the first delay, {format_duration(first_s)}, is longer than the longest"
            allowed = f"at most `max`, {format_duration(max_s)}"
            self.reading.error(fields.mark(at), fields.path(at), message, allowed=allowed)
        return Backoff(
            first_s=first_s,
            factor=fields.get("factor", default.factor),
            max_s=max_s,
            jitter=fields.get("jitter", default.jitter),
            reset_after_s=fields.get("reset_after", default.reset_after_s),
        )

    def _budget(self, restart: Fields | None) -> Budget | None:
        if restart is None:
            return None
        if not restart.has("max_restarts"):
            if restart.has("max_seconds"):
                mark, key = restart.mark("max_seconds"), restart.path("max_seconds")
                self.reading.error(mark, key, "a window without `max_restarts` limits nothing")
            return None
        budget = Budget(restart.get("max_restarts", 0), restart.get("max_seconds"))
        slowest_s = _fastest_way_to_give_up_s(budget, self._backoff(restart))
        if budget.max_seconds is not None and slowest_s > budget.max_seconds:
            message = (
                f"the delays between {budget.max_restarts + 1} restarts add up to"
                f" {format_duration(slowest_s)}, so this limit is never reached"
            )
            self._warn(restart, "max_seconds", message, "`forever`, or a longer window")
        return budget

    def _quota(self, fields: Fields | None) -> Quota:
        if fields is None:
            return Quota()
        gpus = fields.get("gpu")
        if gpus is not None and gpus > 1 and gpus != int(gpus):
            mark, key = fields.mark("gpu"), fields.path("gpu")
            self.reading.error(mark, key, "above one, GPUs are shared out whole", found=f"`{gpus}`")
        return Quota(
            memory_bytes=fields.get("memory"),
            cpu_cores=fields.get("cpu"),
            processes=fields.get("processes"),
            open_files=fields.get("open_files"),
            disk_bytes=fields.get("disk"),
            time_s=fields.get("time"),
            gpus=gpus,
            log_bytes=fields.get("log"),
        )

    # --------------------------------------------------------------------------------- the body

    def _probe(self, segment: Fields, part: str) -> Probe | None:
        fields: Fields | None = segment.get(part)
        how = next((how for how in _HOWS if fields and how in fields.values), None)
        if fields is None or how is None:
            return None
        default = Probe(how)
        port = fields.get("tcp") if how == "tcp" else fields.get("port", default.port)
        if how in {"http", "tcp"}:
            self._check_port(segment, fields, how, port)
        if how != "http" and fields.has("port"):
            mark, key = fields.mark("port"), fields.path("port")
            self.reading.error(mark, key, "only `http` asks a `port`; `tcp: name` names its own")
        return Probe(
            how=how,
            target=fields.get("http", ""),
            port=port,
            argv=fields.get("exec", ()),
            period_s=fields.get("period", default.period_s),
            timeout_s=fields.get("timeout", default.timeout_s),
            failures=fields.get("failures", default.failures),
        )

    def _check_port(self, segment: Fields, probe: Fields, how: str, port: str) -> None:
        """Refuse a probe of a port that the segment does not have."""
        if segment.has("ports"):
            known = segment.get("ports", {port: 0})
        else:
            known = {"http": 0} if how == "http" else {}
        if port not in known:
            at = "port" if how == "http" and probe.has("port") else how
            hint = f"`ports: {{{port}: auto}}` beside it"
            message = f"the segment has no port `{port}`"
            self.reading.error(probe.mark(at), probe.path(at), message, suggestion=hint)

    def _body(self, fields: Fields, path: NodePath) -> Body:
        folder = self._folder(fields)
        body = Body(
            run=fields.get("run"),
            command=fields.get("command"),
            folder=str(folder),
            env={**self._env_file(fields), **self._env(fields)},
            params=fields.get("params", {}),
            ports=self._ports(fields, path),
        )
        doubt, hint = self._doubt(body, folder)
        if doubt:
            self._warn(fields, "run" if body.run else "command", doubt, hint)
        return body

    def _doubt(self, body: Body, folder: Path) -> tuple[str, str]:
        """Return why the code may not be found, and what was probably meant."""
        try:
            if body.run:
                return code.doubt_about_target(body.run, folder)
            if body.command:
                variables = {**self.reading.environment, **body.env}
                return code.doubt_about_program(body.command, folder, variables)
        except OSError as error:
            return f"the code cannot be looked for: {error.strerror}", ""
        return "", ""

    def _folder(self, fields: Fields) -> Path:
        if "folder" not in fields.values:
            return self.folder
        folder = self.folder / str(fields.get("folder"))
        try:
            problem = "" if folder.is_dir() else "not a folder" if folder.exists() else _NO_FOLDER
        except OSError as error:
            problem = f"the folder cannot be used: {error.strerror}"
        if problem:
            mark, key, found = fields.mark("folder"), fields.path("folder"), shown(str(folder))
            self.reading.error(mark, key, problem, found=found)
            return self.folder
        return folder.resolve()

    def _env(self, fields: Fields) -> Mapping[str, str]:
        env: Mapping[str, str] = fields.get("env", {})
        for name in env:
            if name.startswith("PSUP_"):
                message = f"{shown(name)} is the program's own; where it sets one, it wins"
                self._warn(fields, "env", message)
        return env

    def _env_file(self, fields: Fields) -> Mapping[str, str]:
        if "env_file" not in fields.values:
            return {}
        file = self.folder / fields.get("env_file")
        mark, key, findings = (
            fields.mark("env_file"),
            fields.path("env_file"),
            self.reading.findings,
        )
        data = read_small_file(file, findings, named_at=mark, key=key)
        return parse_env_file(data, str(file), findings) if data is not None else {}

    def _ports(self, fields: Fields, path: NodePath) -> Mapping[str, int]:
        if not fields.has("ports"):
            probes = (fields.get(part) for part in _HEALTH)
            asks_http = any(probe and "http" in probe.values for probe in probes)
            return {"http": 0} if asks_http else {}
        ports: Mapping[str, int] = fields.get("ports", {})
        for name, number in ports.items():
            holder = self.fixed_ports.setdefault(number, f"{path}.{name}") if number else ""
            if holder and holder != f"{path}.{name}":
                mark, key = fields.mark("ports"), f"{fields.path('ports')}.{name}"
                message = f"the port {number} is that of {holder} already"
                self.reading.error(mark, key, message, suggestion="`auto`")
        return ports

    def _warn(self, fields: Fields, name: str, message: str, hint: str = "") -> None:
        problem = Problem(fields.mark(name), fields.path(name), message, suggestion=hint)
        self.reading.findings.warn(problem)


def _notes(fields: Fields) -> Notes:
    return Notes(fields.get("owner", ""), fields.get("runbook", ""), fields.get("description", ""))


def _restart_rate(fields: Fields | None) -> RestartRate:
    default = RestartRate()
    if fields is None:
        return default
    return RestartRate(
        fields.get("burst", default.burst), fields.get("per_second", default.per_second)
    )


def _shutdown(fields: Fields | None) -> Shutdown:
    default = Shutdown()
    if fields is None:
        return default
    return Shutdown(fields.get("grace", default.grace_s), fields.get("signal", default.signal))


def _says_how(probe: Node) -> bool:
    """Tell whether a probe says how to ask, and not only how often."""
    return isinstance(probe, Table) and any(how in probe.entries for how in _HOWS)


def _fastest_way_to_give_up_s(budget: Budget, backoff: Backoff) -> float:
    """Return the time from the first restart to the one that exceeds the budget, if none runs.

    Looks no further than the window, so that large budgets cost nothing.
    """
    total_s, delay_s = 0.0, backoff.first_s
    for _ in range(min(budget.max_restarts, 10_000)):
        delay_s = min(delay_s * backoff.factor, backoff.max_s)
        total_s += delay_s * (1 - backoff.jitter)
    return total_s
