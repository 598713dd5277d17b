"""One incarnation, from the order to start until no process of it is left.

Runs in the keeper's thread only. Turns what happens (the program was executed, the body said
something, a probe answered, the kernel killed, the process ended) into notices, and keeps the
evidence while it exists: counters are read before the enclosure that holds them is removed.
Decides no restart. Read next: `verdict.py` (names the cause), `sampling.py` (what is measured).
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from supervisor.cell.disk import DiskWatch
from supervisor.cell.hearing import NotifySocket, Said
from supervisor.cell.keeper import Keeper
from supervisor.cell.logfile import LogFile
from supervisor.cell.outbox import Outbox
from supervisor.cell.probes import Prober
from supervisor.cell.sampling import Sampling, limits
from supervisor.cell.spawn import Spawned, spawn
from supervisor.cell.surroundings import program, variables, watchdog_s
from supervisor.cell.verdict import Facts, reason, signal_name
from supervisor.core.events import Exited, ExitKind, ExitReason, Ready, Started, Unresponsive
from supervisor.core.spec import SegmentSpec
from supervisor.runtime.mark import Mark
from supervisor.runtime.ports import Enclosure, Limiter, StartOrder, Usage

LOG_CHECK_S = 2.0
LOG_STORM_CHECK_S = 0.02
OOM_CHECK_S = 0.01
OOM_CHECKS = 50
CLEANUP_RETRY_S = 1.0
_log = logging.getLogger(__name__)


class Life:
    """Everything about one incarnation.

    Args:
        order: what to start.
        limiter: makes the enclosure.
        run_folder: for the notify socket.
        keeper: the thread that all of this runs in.
        outbox: where notices go.
        node: name of this node.
        scope: first part of the mark that the body's processes carry.
    """

    def __init__(  # noqa: PLR0913  one place of use; each is a collaborator with a name
        self,
        order: StartOrder,
        *,
        limiter: Limiter,
        run_folder: FilePath,
        keeper: Keeper,
        outbox: Outbox,
        node: str,
        scope: str,
    ) -> None:
        self.order = order
        self.pid: int | None = None
        self._limiter = limiter
        self._run_folder = run_folder
        self._keeper = keeper
        self._outbox = outbox
        self._node = node
        self._token = str(Mark.fresh(scope, order.path, order.incarnation))
        self._over = threading.Event()
        self._log = LogFile(order.log, order.spec.quota.log_bytes)
        self._disk_watch: DiskWatch | None = None
        self._began_s = time.monotonic()
        self._ready = False
        self._asked = self._killed = False
        self._sentence: ExitReason | None = None
        self._error: dict[str, Any] | None = None
        self._report_heard = False
        # Made by `begin`, in this order:
        self._enclosure: Enclosure
        self._socket: NotifySocket
        self._environment: dict[str, str]
        self._spawned: Spawned
        self._sampling: Sampling
        self._prober: Prober

    @property
    def over(self) -> bool:
        """Whether no process of this life is left; from any thread."""
        return self._over.is_set()

    def wait_until_over(self) -> None:
        """Block another thread until no process of this life is left."""
        self._over.wait()

    # ------------------------------------------------------------------------------ the beginning

    def begin(self) -> None:
        """Make room, start the body and tell of it; an obstacle ends the life with its cause."""
        order = self.order
        try:
            with contextlib.ExitStack() as undo:
                self._enclosure = self._limiter.enclose(
                    order.path, order.incarnation, order.spec, self._token
                )
                undo.callback(self._enclosure.remove)
                self._socket = NotifySocket(self._run_folder, f"{secrets.token_hex(8)}.sock")
                undo.callback(self._socket.close)
                self._start_body()
                undo.pop_all()
        except (OSError, ValueError) as error:
            self._fail_to_begin(error)
            return
        self._tell_started()
        self._watch()

    def _start_body(self) -> None:
        self._environment = variables(
            self.order, notify_socket=str(self._socket.path), token=self._token, devices=os.environ
        )
        for folder in (self.order.scratch, self.order.checkpoint):
            FilePath(folder).mkdir(parents=True, exist_ok=True)
        self._spawned = self._spawn(program(self.order))
        self.pid = self._spawned.process.pid

    def _spawn(self, argv: list[str]) -> Spawned:
        output_fd = self._log.open_for_append()
        try:
            return spawn(
                argv,
                self._enclosure.entry,
                folder=self.order.spec.body.folder,
                environment=self._environment,
                output_fd=output_fd,
            )
        finally:
            os.close(output_fd)

    def _fail_to_begin(self, error: Exception) -> None:
        cause = ExitReason(ExitKind.ERROR, f"{type(error).__name__}: {error}")
        evidence = {"last_log_lines": [], "quota": limits(self.order.spec.quota)}
        self._outbox.tell(Exited(self.order.path, self.order.incarnation, cause), evidence)
        self._over.set()

    def _tell_started(self) -> None:
        assert self.pid is not None
        evidence = {
            "pid": self.pid,
            "node": self._node,
            "cell_pid": os.getpid(),
            "cgroup": self._enclosure.name,
            "enforcement": dict(self._enclosure.enforcement),
            "mode": self._limiter.mode,
        }
        order = self.order
        self._outbox.tell(Started(order.path, order.incarnation, self.pid, self._node), evidence)

    def _watch(self) -> None:
        keeper, spec = self._keeper, self.order.spec
        self._sampling = Sampling(spec.quota, self._enclosure)
        keeper.add(self._socket.fileno(), self._on_words)
        keeper.add(self._spawned.report_fd, self._on_report)
        oom_fd = self._enclosure.oom_event_fd()
        if oom_fd is not None:
            keeper.add(oom_fd, self._on_oom_event)
        keeper.add(self._spawned.pid_fd, self._on_end)
        keeper.alarms.set("log", LOG_CHECK_S, self._check_log)
        keeper.alarms.set("sample", self._sampling.first_s, self._sample)
        self._begin_probing()
        if spec.quota.disk_bytes is not None:
            folders = (self.order.scratch, self.order.checkpoint)
            self._disk_watch = DiskWatch(folders, lambda n: keeper.post(lambda: self._on_disk(n)))
            self._disk_watch.start()

    def _begin_probing(self) -> None:
        keeper, spec = self._keeper, self.order.spec
        self._prober = Prober(
            spec.health,
            dict(spec.body.ports),
            self._execute_probe,
            ready=lambda: keeper.post(self._on_ready),
            unresponsive=lambda detail: keeper.post(lambda: self._on_unresponsive(detail)),
        )
        self._prober.start()
        if self._ready:
            self._prober.body_is_ready()
            self._feed_watchdog()

    def _execute_probe(self, argv: tuple[str, ...]) -> subprocess.Popen[bytes]:
        spawned = self._spawn(list(argv))
        spawned.close()
        return spawned.process

    # ----------------------------------------------------------------------------- while it lives

    @property
    def _has_ended(self) -> bool:
        """Whether the main process ended, also when that has not been looked at yet."""
        return _readable(self._spawned.pid_fd)

    def adjust(self, wanted: SegmentSpec) -> None:
        """Hold the body to the quotas and health checks of another spec from now on.

        A limit that the kernel refuses, because more than that is in use, stays as it was; the log
        of the cell says so, and the next life has the new one.
        """
        if self.over or self._has_ended:
            return
        spec = replace(self.order.spec, quota=wanted.quota, health=wanted.health)
        try:
            self._enclosure.adjust(spec)
        except OSError as error:
            _log.warning("%s: the new limits cannot be set: %s", self.order.path, error)
            spec = replace(spec, quota=self.order.spec.quota)
        asks_anew = spec.health != self.order.spec.health
        self.order = replace(self.order, spec=spec)
        self._sampling.quota = spec.quota
        if asks_anew:
            self._prober.stop()
            self._keeper.alarms.clear("watchdog")
            self._begin_probing()

    def stop(self, name: str) -> None:
        """Ask the main process to go. Its children are its own to ask, as in a container."""
        if self.over or self._has_ended:
            return
        self._asked = True
        signal.pidfd_send_signal(self._spawned.pid_fd, signal.Signals[name])

    def kill(self) -> None:
        """End every process of this life."""
        if self.over or self._has_ended:
            return
        self._killed = self._asked
        self._asked = True
        self._kill_all()

    def _kill_all(self) -> None:
        assert self.pid is not None
        # A body that was started just now may not have entered its enclosure yet.
        signal.pidfd_send_signal(self._spawned.pid_fd, signal.SIGKILL)
        try:
            self._enclosure.kill_all(self.pid)
        except TimeoutError:  # stuck in the kernel; until they are gone this life is not over
            self._keeper.alarms.set("kill", CLEANUP_RETRY_S, self._kill_all)

    def _condemn(self, cause: ExitReason) -> None:
        """End this life for a breach, unless it is ending already."""
        if not self.over and not self._has_ended and self._sentence is None:
            if not self._asked:
                self._sentence = cause
            self._kill_all()

    def _on_report(self) -> None:
        """The program was executed (end of file), or cannot be (its reason)."""
        text = os.read(self._spawned.report_fd, 4096).decode(errors="replace")
        self._keeper.drop(self._spawned.report_fd)
        self._report_heard = True
        if text:
            kind, _, message = text.partition(": ")
            self._error = {"type": kind, "message": message, "traceback": ""}
        elif (
            self.order.spec.health.ready is None
            and self.order.spec.body.run is None
            and not self._has_ended
        ):
            self._on_ready()

    def _on_words(self) -> None:
        self._take(self._socket.receive())

    def _take(self, said: Said) -> None:
        ready = self.order.spec.health.ready
        spoken = ready is None or ready.how == "notify"
        self._error = said.error or self._error
        if (said.running and ready is None) or (said.ready and spoken):
            self._on_ready()
        if said.heartbeat:
            self._feed_watchdog()
        if said.status is not None or said.progress is not None:
            self._sampling.take(said)
            self._keeper.alarms.bring_forward("sample", self._sampling.after_words_s)

    def _on_ready(self) -> None:
        if self.over or self._ready:
            return
        self._ready = True
        self._outbox.tell(Ready(self.order.path, self.order.incarnation), {})
        self._prober.body_is_ready()
        self._feed_watchdog()

    def _feed_watchdog(self) -> None:
        limit_s = watchdog_s(self.order.spec)
        if limit_s is not None and self._ready:
            silence = f"no heartbeat for {limit_s:g} s"
            self._keeper.alarms.set("watchdog", limit_s, lambda: self._on_unresponsive(silence))

    def _on_unresponsive(self, detail: str) -> None:
        if not self.over and not self._has_ended:
            self._outbox.tell(Unresponsive(self.order.path, self.order.incarnation, detail), {})

    def _on_oom_event(self) -> None:
        """The kernel is about to kill one process; the rest of the segment must not limp on."""
        fd = self._enclosure.oom_event_fd()
        assert fd is not None
        os.eventfd_read(fd)
        self._check_oom(OOM_CHECKS)

    def _check_oom(self, checks_left: int) -> None:
        if self._enclosure.oom_kills():
            self._condemn(ExitReason(ExitKind.OOM))
        elif checks_left:
            self._keeper.alarms.set("oom", OOM_CHECK_S, lambda: self._check_oom(checks_left - 1))

    def _sample(self) -> None:
        assert self.pid is not None
        usage = self._enclosure.usage(self.pid)
        kind = self._sampling.look(usage)
        if self._sampling.report_is_due:
            self._outbox.measure(self.order.incarnation, self._sampling.report())
        if kind is not None:
            self._on_breach(kind)
        self._keeper.alarms.set("sample", self._sampling.period_s, self._sample)

    def _on_disk(self, used_bytes: int) -> None:
        if not self.over and self._sampling.disk_breached(used_bytes):
            self._on_breach("disk")

    def _on_breach(self, kind: str) -> None:
        memory = kind == "memory"
        self._condemn(ExitReason(ExitKind.OOM) if memory else ExitReason(ExitKind.QUOTA, kind))

    def _check_log(self) -> None:
        full_s = self._log.rotate_if_full(time.monotonic())
        period_s = min(LOG_CHECK_S, max(LOG_STORM_CHECK_S, full_s / 2))
        self._keeper.alarms.set("log", period_s, self._check_log)

    # ------------------------------------------------------------------------------------ the end

    def _on_end(self) -> None:
        """The main process ended: hear its last words, then end everything it left behind."""
        self._on_words()
        if not self._report_heard:
            self._on_report()
        self._prober.stop()
        if self._disk_watch is not None:
            self._disk_watch.stop()
        oom_fd = self._enclosure.oom_event_fd()
        for fd in (self._socket.fileno(), self._spawned.pid_fd, oom_fd):
            if fd is not None:
                self._keeper.drop(fd)
        self._keeper.alarms.clear()
        self._clean_up()

    def _clean_up(self) -> None:
        """Nobody may be left before `Exited` is told; until then this is tried again.

        The main process is waited for last: while it is a zombie, its pid is nobody else's.
        """
        assert self.pid is not None
        try:
            self._enclosure.kill_all(self.pid)
        except TimeoutError:
            self._keeper.alarms.set("cleanup", CLEANUP_RETRY_S, self._clean_up)
            return
        usage = self._enclosure.usage(self.pid)
        _, status, rusage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        self._spawned.process.returncode = code
        self._log.rotate_if_full(time.monotonic())
        oom_kills = self._enclosure.oom_kills()
        own_cpu_s = rusage.ru_utime + rusage.ru_stime
        evidence = self._evidence(code, usage, own_cpu_s, oom_kills)
        cause = self._cause(code, oom_kills)
        self._enclosure.remove()
        self._socket.close()
        self._spawned.close()
        self._over.set()
        self._outbox.tell(Exited(self.order.path, self.order.incarnation, cause), evidence)

    def _cause(self, code: int, oom_kills: int) -> ExitReason:
        memory = self._enclosure.enforcement.get("memory")
        return reason(
            Facts(
                exit_code=code,
                asked=self._asked,
                sentence=self._sentence,
                oom_kills=oom_kills,
                error=self._error,
                memory_errors_are_quota=memory == "sampled",
            )
        )

    def _evidence(
        self, code: int, usage: Usage, own_cpu_s: float, oom_kills: int
    ) -> dict[str, Any]:
        return {
            "exit_code": code if code >= 0 else None,
            "signal": signal_name(-code) if code < 0 else None,
            "oom_kills": oom_kills,
            "peak_memory_bytes": self._sampling.peak_memory_bytes(usage),
            "cpu_s": round(max(usage.cpu_s or 0.0, own_cpu_s), 6),
            "duration_s": round(time.monotonic() - self._began_s, 3),
            "traceback": (self._error or {}).get("traceback", ""),
            "last_log_lines": self._log.last_lines(),
            "quota": limits(self.order.spec.quota),
            "killed_after_grace": self._killed,
            "enforcement": dict(self._enclosure.enforcement),
            **self._enclosure.counters(),
        }


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
