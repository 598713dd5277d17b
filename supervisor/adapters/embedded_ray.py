"""The one embedded Ray of a `$PSUP_HOME`: found, started, shared and stopped, never confused.

Runs Ray's own `ray start` as a subprocess, under a lock, with everything on the loopback interface
and a token of its own. Its processes share a session whose number is written down before Ray
begins, and only members of that session are ever signalled: another Ray on this machine, of this
user or of any other, is left alone. Who uses it is written down too; the last to leave stops it.
Does not import Ray. Read next: `ray_backend.py` (who joins), `cli/doctor.py` (who looks).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import supervisor
from supervisor.errors import BackendUnavailable, StoreError
from supervisor.runtime.private_files import private_folder
from supervisor.runtime.process_identity import boot_id, started_ticks
from supervisor.runtime.process_session import Member, kill, members_of, on_end

START_LIMIT_S = 90.0
STOP_LIMIT_S = 10.0
OBJECT_STORE_BYTES = 128 * 1024 * 1024
LONGEST_SOCKET_PATH = 107
_LONGEST_BELOW_TEMP = "/session_2026-11-23_03-38-53_839518_4194304/sockets/plasma_store"
_IDLE_WORKERS_KEPT = 8
_PRESTART_UP_TO_CORES = 8
_INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH"),
    *("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
    *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
)
"""All that Ray's processes get of the first launcher's environment; its secrets stay out."""


@dataclass(frozen=True, slots=True)
class Session:
    """A running embedded Ray.

    Args:
        address: `127.0.0.1:port`, for those who join.
        temp: where it keeps its sockets and logs.
        gcs, raylet: the two processes without which it is dead.
        boot_id: the boot of the machine in which it was started.
    """

    address: str
    temp: str
    gcs: Member
    raylet: Member
    boot_id: str

    def is_alive(self) -> bool:
        """Tell whether both of its main processes still run."""
        return self.boot_id == boot_id() and self.gcs.is_alive() and self.raylet.is_alive()


class EmbeddedRay:
    """Finds or starts the Ray of one home on behalf of one user, usually a pipeline's daemon.

    Args:
        folder: `$PSUP_HOME/ray`; made with mode 0700 if absent.
        user: name under which this user is written down; a second `join` replaces the first.
        holders: pids on whose behalf Ray is kept; while one of them lives, the user counts. A
            daemon names itself and the parent that restarts it, so that Ray stays up in between.
        preload: modules that workers import while they are idle, if this user starts Ray.
    """

    def __init__(
        self, folder: Path, user: str, holders: Sequence[int] = (), preload: Sequence[str] = ()
    ) -> None:
        self._folder = folder
        self._user = folder / "users" / f"{user}.json"
        self._holders = tuple(holders) or (os.getpid(),)
        self._preload = tuple(preload)
        self._unwatch: Callable[[], None] = _nothing

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs in its environment, before it imports ray, to be let in."""
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self._folder / "token"),
            # Unless clusters are off, Ray replaces 127.0.0.1 by the address that the network sees
            # and listens everywhere. The variable is older than its use on Linux, hence its name.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }

    @property
    def temp(self) -> Path:
        """Where Ray puts its sockets: below the home, or under /tmp if the home's path is long."""
        below = self._folder / "t"
        if len(f"{below}{_LONGEST_BELOW_TEMP}") <= LONGEST_SOCKET_PATH:
            return below
        short = hashlib.sha256(str(self._folder).encode()).hexdigest()[:12]
        return Path(f"/tmp/psup-{os.getuid()}") / short  # noqa: S108  0700, checked before use

    def find(self) -> Session | None:
        """Return the running session; None when there is none. Changes nothing."""
        session = self._read_session()
        return session if session is not None and session.is_alive() else None

    def join(self, on_death: Callable[[str], None]) -> str:
        """Write this user down and return the address of a living Ray, started if need be.

        Blocks for the seconds that Ray takes to start, or until another daemon has started it.

        Args:
            on_death: called once, from a thread of its own, if that Ray ends before `leave`.

        Raises:
            BackendUnavailable: Ray could not be started; the message holds its last words.
        """
        with self._locked():
            self._write_user()
            session = self.find() or self._start()
        self._unwatch()
        self._unwatch = on_end(
            {"gcs_server": session.gcs, "raylet": session.raylet},
            lambda name: on_death(f"Ray's {name} process ended"),
        )
        return session.address

    def leave(self) -> None:
        """Cross this user out; the last one stops Ray and sees all its processes gone."""
        self._unwatch()
        with self._locked():
            self._user.unlink(missing_ok=True)
            if not self.users():
                self._stop()

    def stop(self) -> None:
        """Stop Ray, whoever uses it; its users notice, and what they ran on it is lost."""
        self._unwatch()
        with self._locked():
            self._stop()

    def users(self) -> list[str]:
        """Return the names of those who live and use this Ray; forgets nobody."""
        return sorted(
            file.stem for file in self._user.parent.glob("*.json") if _is_user_alive(_load(file))
        )

    def members(self) -> list[Member]:
        """Return every living process of this Ray, workers and half-started ones included."""
        try:
            boot, sid = (self._folder / "sid").read_text(encoding="ascii").split()
        except (FileNotFoundError, ValueError):  # none, or its writer was killed in between
            return []
        return members_of(int(sid), self._folder) if boot == boot_id() else []

    # ------------------------------------------------------------------------------- starting

    def _start(self) -> Session:
        """Start Ray after clearing away what a dead or half-started one left behind."""
        self._stop()
        self._write_token()
        try:
            private_folder(self.temp.parent)
            private_folder(self.temp)
        except StoreError as error:
            raise BackendUnavailable(error.message, hint=error.hint) from error
        log = self._folder / "start.log"
        try:
            with log.open("w", encoding="utf-8") as output:
                done = subprocess.run(
                    self._command(),
                    env=self._start_environment(),
                    cwd=self._folder,  # see `members`
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C in the launching terminal is not for Ray
                    timeout=START_LIMIT_S,
                    check=False,
                )
            failure = f"`ray start` ended with exit code {done.returncode}"
            session = self._look_at_new_session() if done.returncode == 0 else None
        except subprocess.TimeoutExpired:
            failure, session = f"`ray start` took longer than {START_LIMIT_S:.0f} s", None
        if session is None:
            self._stop()
            hint = f"its output is in {log}; `psup doctor` checks this machine"
            raise BackendUnavailable(f"{failure}: {_last_words(log)}", hint=hint)
        _write(self._folder / "session.json", asdict(session))
        return session

    def _command(self) -> list[str]:
        command = [
            # The shell becomes `ray start` after it wrote down the session that it leads.
            *("/bin/sh", "-c", 'echo "$1" $$ > "$2" && shift 2 && exec "$@"', "sh"),
            *(boot_id(), str(self._folder / "sid")),
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
            *("--node-ip-address=127.0.0.1", "--port=0", f"--temp-dir={self.temp}"),
            *("--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0"),
            *("--include-dashboard=false", "--include-log-monitor=false", "--no-monitor"),
            *("--disable-usage-stats", f"--object-store-memory={OBJECT_STORE_BYTES}"),
        ]
        if importlib.util.find_spec("grpc") is not None:
            # With grpcio installed Ray also starts a server for remote clients, on a fixed port.
            command.append(f"--ray-client-server-port={_free_port()}")
        return command

    def _start_environment(self) -> dict[str, str]:
        """Return the environment of Ray's processes; names below are in Ray's ray_config_def.h."""
        kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        source = str(Path(supervisor.__file__).parents[1])
        if not source.endswith("site-packages"):  # run from its source: workers must find it too
            kept["PYTHONPATH"] = os.pathsep.join(filter(None, [source, kept.get("PYTHONPATH")]))
        few_cores = (os.cpu_count() or 1) <= _PRESTART_UP_TO_CORES
        return {
            **kept,
            **self.environment,
            # Its memory monitor kills by its own idea of importance; pressure is ours to handle.
            "RAY_memory_monitor_refresh_ms": "0",
            # Bodies inherit these from their cell, and only root could take them back.
            "RAY_worker_niceness": "0",
            "RAY_worker_oom_score_adjustment": "0",
            # An idle worker becomes a cell in 20 ms, a new process in 400 ms or more.
            "RAY_num_workers_soft_limit": str(_IDLE_WORKERS_KEPT),
            "RAY_preload_python_modules": ",".join(self._preload),
            # Ray would start one worker per core for the first driver, on however many cores.
            "RAY_prestart_worker_first_driver": "1" if few_cores else "0",
            # What only its dashboard would show.
            "RAY_task_events_report_interval_ms": "0",
            "RAY_enable_metrics_collection": "0",
            "RAY_ROTATION_MAX_BYTES": str(8 * 1024 * 1024),
            "RAY_ROTATION_BACKUP_COUNT": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def _look_at_new_session(self) -> Session | None:
        """Return what `ray start` has just started; None if it is dead already."""
        by_role = {member.program: member for member in self.members()}
        gcs, raylet = by_role.get("gcs_server"), by_role.get("raylet")
        with contextlib.suppress(FileNotFoundError):
            address = (self.temp / "ray_current_cluster").read_text(encoding="ascii").strip()
            if gcs is not None and raylet is not None:
                return Session(address, str(self.temp), gcs, raylet, boot_id())
        return None

    def _write_token(self) -> None:
        """Make the token once per home; living clients of an older Ray keep theirs."""
        token = self._folder / "token"
        if not token.exists():
            descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))

    # ------------------------------------------------------------------------------- stopping

    def _stop(self) -> None:
        """End every process of this Ray, see them gone, and remove what they leave on the disk.

        Killed, not asked: together they would wait for each other for seconds, and none of them
        holds anything that outlives the session.
        """
        end_s = time.monotonic() + STOP_LIMIT_S
        while members := self.members():
            if time.monotonic() > end_s:
                pids = ", ".join(str(member.pid) for member in members)
                raise BackendUnavailable(
                    f"processes of the embedded Ray cannot be ended: {pids}",
                    hint="they are stuck in the kernel; look at them with `ps -o pid,stat,wchan`",
                )
            kill(members)
        for name in ("session.json", "sid"):
            (self._folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.temp, ignore_errors=True)

    # ------------------------------------------------------------------------------ small things

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep every other process of this home from starting or stopping Ray."""
        try:
            private_folder(self._folder)
            self._user.parent.mkdir(exist_ok=True)
        except StoreError as error:
            raise BackendUnavailable(error.message, hint=error.hint) from error
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read_session(self) -> Session | None:
        values = _load(self._folder / "session.json")
        if values is None:
            return None
        gcs, raylet = Member(**values.pop("gcs")), Member(**values.pop("raylet"))
        return Session(gcs=gcs, raylet=raylet, **values)

    def _write_user(self) -> None:
        holders = [{"pid": pid, "started_ticks": started_ticks(pid)} for pid in self._holders]
        _write(self._user, {"boot_id": boot_id(), "holders": holders})


def _nothing() -> None:
    """Call off nothing."""


def _is_user_alive(record: Any) -> bool:
    return (
        record is not None
        and record["boot_id"] == boot_id()
        and any(Member(**holder).is_alive() for holder in record["holders"])
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _last_words(log: Path) -> str:
    """Return the last lines of a log that say something."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " / ".join([line.strip() for line in lines if line.strip()][-3:]) or "it said nothing"


def _load(file: Path) -> Any:
    """Return the JSON in a file; None without the file, or when its writer died half-way."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write(file: Path, values: Any) -> None:
    """Replace a file in one step."""
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(values), encoding="utf-8")
    draft.replace(file)
