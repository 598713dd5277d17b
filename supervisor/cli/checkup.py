"""What `psup doctor` looks at: one function per subject, each finding with what to do about it.

Looks and changes nothing, and needs neither a daemon nor Ray: an ill machine is the one that it is
for. A finding says what was found in words that stand alone; `fix` means that something promised
will not work, `look` that it works with less than it could. Read next: `doctor.py` (who prints it).
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from supervisor.adapters.cgroup_limiter import CgroupLimiter
from supervisor.adapters.cgroup_place import find_hierarchy
from supervisor.adapters.embedded_ray import OBJECT_STORE_BYTES, EmbeddedRay
from supervisor.cli.home import Home
from supervisor.cli.store_reader import PipelineRow, StoreReader
from supervisor.cli.words import count, listing, size
from supervisor.daemon.node import home_scope, make_limiter
from supervisor.daemon.wakeup import address, ring
from supervisor.errors import NotRunning, QuotaUnenforceable, StoreError
from supervisor.runtime.private_files import private_folder
from supervisor.runtime.process_identity import parent_is_alive
from supervisor.runtime.process_session import Member

OK = "ok"
LOOK = "look"
FIX = "fix"

TESTED_RAY = "2.60."
QUOTAS = ("memory", "cpu", "processes", "open_files", "disk")
MIB = 1024**2
GIB = 1024**3
NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs"})


class Finding(NamedTuple):
    """One thing that was looked at.

    Args:
        subject: what it is about.
        verdict: `ok`, `look` or `fix`.
        found: what was found.
        todo: what to type or change; empty when there is nothing to do.
    """

    subject: str
    verdict: str
    found: str
    todo: str = ""


def examine(home: Home) -> Iterator[Finding]:
    """Look at everything, the program first, then the machine, then what runs on it."""
    embedded = EmbeddedRay(home.ray, "doctor")
    yield import_name(_version("supervisor"))
    yield ray_version(_version("ray"))
    yield embedded_ray(embedded)
    yield home_folder(home.root)
    yield from quotas(embedded)
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield free_memory(_available_memory_bytes())
    yield free_disk(_free_bytes(home.root), "disk")
    yield shared_memory(_free_bytes(Path("/dev/shm")))  # noqa: S108  looked at, never written
    yield socket_folders(home.root, embedded.temp)
    yield from leftovers(home, embedded)


# ------------------------------------------------------------------------------------- the program


def import_name(supervisord: str | None) -> Finding:
    """Look for the other program whose package is called `supervisor`.

    Args:
        supervisord: its version; None if it is not installed here.
    """
    if supervisord is None:
        return Finding("import name", OK, "no other package is called `supervisor` here")
    return Finding(
        "import name",
        FIX,
        f"supervisord {supervisord} is installed in this environment, and its package is called "
        "`supervisor` as well: files of the two overwrite each other",
        "pip uninstall supervisor; pip install --force-reinstall pipeline-supervisor; better: give "
        "each an environment of its own",
    )


def ray_version(version: str | None) -> Finding:
    """Compare the installed Ray with the one that this program was tested with."""
    install = f"pip install 'ray=={TESTED_RAY}*'"
    if version is None:
        return Finding("ray", FIX, "Ray is not installed", install)
    if not version.startswith(TESTED_RAY):
        found = f"Ray {version} is installed; this psup was tested with {TESTED_RAY}x only"
        return Finding("ray", FIX, found, install)
    return Finding("ray", OK, f"Ray {version}")


def embedded_ray(embedded: EmbeddedRay) -> Finding:
    """Look at the Ray of this home."""
    session, members = embedded.find(), embedded.members()
    subject = "embedded ray"
    if session is not None:
        users = embedded.users()
        processes = f"{count(len(members), 'process')}, {size(_memory_bytes(members))}"
        if users:
            found = f"up at {session.address}, used by {listing(users)}; {processes}"
            return Finding(subject, OK, found)
        found = f"up at {session.address}, but no pipeline uses it; {processes}"
        return Finding(subject, LOOK, found, "it stops after the next `psup down`")
    if members:
        pids = " ".join(str(member.pid) for member in members)
        found = f"it died and left {count(len(members), 'process')} behind: {pids}"
        return Finding(subject, LOOK, found, "the next `psup launch` clears them away")
    return Finding(subject, OK, "not running; `psup launch` starts it")


# ------------------------------------------------------------------------------------- the machine


def home_folder(root: Path) -> Finding:
    """Look at who may enter `$PSUP_HOME` and what kind of disk it lies on."""
    if not root.exists():
        return Finding("home", OK, f"{root} is not there yet; `psup launch` makes it")
    try:
        if any(root.iterdir()):  # one that is empty, `psup launch` closes to others itself
            private_folder(root)
    except StoreError as error:
        return Finding("home", FIX, error.message, error.hint)
    kind = _file_system(root)
    if kind in NETWORK_FILE_SYSTEMS:
        found = f"{root} lies on a network file system ({kind}), where SQLite loses data"
        return Finding("home", FIX, found, "set PSUP_HOME to a folder on a local disk")
    return Finding("home", OK, f"{root}, yours alone")


def quotas(embedded: EmbeddedRay) -> Iterator[Finding]:
    """Look at how this node would hold quotas: where Ray's workers are if it is up, else here."""
    session = embedded.find()
    whose = "self" if session is None else str(session.raylet.pid)
    try:
        mode = find_hierarchy(cgroup_file=f"/proc/{whose}/cgroup").mode
        limiter = make_limiter()
    except QuotaUnenforceable as error:
        mode, limiter = "rlimit", make_limiter(mode="rlimit")
        yield Finding("control groups", LOOK, error.message, error.hint)
    else:
        yield Finding("control groups", OK, f"{mode}, and psup may make its own")
    held = {quota: limiter.holds(quota) for quota in QUOTAS}
    words = ", ".join(f"{quota} {how}" for quota, how in held.items())
    unheld = [quota for quota, how in held.items() if how == "none"]
    if unheld:
        todo = "see `control groups`; `psup launch --strict-quotas` refuses what cannot be held"
        yield Finding("quotas", LOOK, f"{listing(unheld)} cannot be held here ({words})", todo)
    else:
        yield Finding("quotas", OK, words)


def open_files(limit: int) -> Finding:
    """Look at how many files one process may have open; Ray needs more than most."""
    if limit == resource.RLIM_INFINITY or limit >= 4096:
        return Finding("open files", OK, f"{limit} per process")
    verdict = FIX if limit < 1024 else LOOK
    return Finding("open files", verdict, f"only {limit} per process", "ulimit -n 65536")


def free_memory(available_bytes: int) -> Finding:
    """Look at whether Ray and a few cells fit into memory."""
    if available_bytes >= 3 * GIB // 2:
        return Finding("memory", OK, f"{size(available_bytes)} available")
    found = f"{size(available_bytes)} available; Ray takes some 400M, every segment's cell 50M"
    verdict = FIX if available_bytes < GIB // 2 else LOOK
    return Finding("memory", verdict, found, "stop something else first")


def free_disk(free_bytes: int, subject: str) -> Finding:
    """Look at the room for the store, checkpoints and logs."""
    if free_bytes >= 2 * GIB:
        return Finding(subject, OK, f"{size(free_bytes)} free")
    verdict = FIX if free_bytes < 200 * MIB else LOOK
    found = f"{size(free_bytes)} free for the store, checkpoints and logs"
    return Finding(subject, verdict, found, "make room, or set PSUP_HOME to a larger disk")


def shared_memory(free_bytes: int) -> Finding:
    """Look at the room for Ray's object store."""
    if free_bytes >= OBJECT_STORE_BYTES:
        return Finding("shared memory", OK, f"{size(free_bytes)} free in /dev/shm")
    found = f"{size(free_bytes)} free in /dev/shm; Ray keeps its objects on the disk instead"
    return Finding("shared memory", LOOK, found, "in a container: --shm-size=256m")


def socket_folders(root: Path, temp: Path) -> Finding:
    """Look at where sockets go: their paths end at 107 bytes."""
    folders = {address(root, "pipeline").parent, temp}
    short = [folder for folder in folders if not folder.is_relative_to(root)]
    if not short:
        return Finding("sockets", OK, f"the path of {root} is short enough for them")
    for folder in {Path(*folder.parts[:3]) for folder in short}:
        with suppress(FileNotFoundError):
            found = folder.stat()
            if found.st_uid != os.getuid() or found.st_mode & 0o077:
                text = f"{folder} is needed for sockets, but is not yours alone"
                return Finding("sockets", FIX, text, "set PSUP_HOME to a shorter path")
    places = listing(sorted(str(folder) for folder in short))
    return Finding("sockets", OK, f"in {places}, because {root} is a long path")


# ----------------------------------------------------------------------------- what was left behind


def leftovers(home: Home, embedded: EmbeddedRay) -> Iterator[Finding]:
    """Look for what dead daemons left: pipelines without one, cells, groups, sockets."""
    rows = _pipelines(home)
    orphans = [row for row in rows if row.state != "down" and not _is_looked_after(row)]
    for row in orphans:
        file = row.info.get("file", "FILE")
        text = f"{row.name} is up in the store, but its daemon is dead and nobody restarts it"
        yield Finding("pipeline", FIX, text, f"psup launch {file}, or psup down {row.name}")
    alive = {row.name for row in rows if _is_looked_after(row)}
    found = False
    for subject, by_pipeline in (
        ("cells", _cells(embedded)),
        ("control groups left", _groups(home, embedded)),
    ):
        for pipeline, number in by_pipeline.items():
            if pipeline not in alive:
                found = True
                text = f"{number} of {pipeline}, which no daemon runs"
                yield Finding(subject, LOOK, text, f"the next launch of {pipeline} ends them")
    for row in rows:
        socket = address(home.root, row.name)
        if row.name not in alive and socket.exists() and not ring(home.root, row.name):
            found = True
            text = f"{socket} is left of a dead daemon"
            yield Finding("socket", LOOK, text, f"harmless; the next launch of {row.name} takes it")
    if not found and not orphans:
        yield Finding("leftovers", OK, "none")


def _is_looked_after(row: PipelineRow) -> bool:
    if row.daemon_pid is not None:
        return True
    return row.owner is not None and parent_is_alive(row.owner)


def _pipelines(home: Home) -> list[PipelineRow]:
    try:
        with StoreReader(home.state_db) as reader:
            return reader.pipelines()
    except NotRunning:  # nothing was ever launched
        return []


def _cells(embedded: EmbeddedRay) -> Mapping[str, int]:
    """Return how many cells each pipeline has in this home's Ray, by the titles of the workers."""
    found: dict[str, int] = {}
    for member in embedded.members():
        with suppress(OSError):
            title = Path(f"/proc/{member.pid}/cmdline").read_text(errors="replace")
            if title.startswith("ray::psup-cell "):
                pipeline = title.removeprefix("ray::psup-cell ").partition("/")[0]
                found[pipeline] = found.get(pipeline, 0) + 1
    return found


def _groups(home: Home, embedded: EmbeddedRay) -> Mapping[str, int]:
    """Return how many control groups of lives each pipeline has, here and where Ray's cells are."""
    session = embedded.find()
    found: dict[str, set[str]] = {}
    for whose in ("self", *([str(session.raylet.pid)] if session is not None else [])):
        with suppress(QuotaUnenforceable):
            hierarchy = find_hierarchy(cgroup_file=f"/proc/{whose}/cgroup")
            scope = home_scope(str(home.root))
            for pipeline, name in CgroupLimiter(hierarchy, scope=scope).lives():
                found.setdefault(pipeline, set()).add(name)
    return {pipeline: len(names) for pipeline, names in found.items()}


# ---------------------------------------------------------------------------------- reading numbers


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _memory_bytes(members: list[Member]) -> int:
    """Return what processes use, shared pages counted once over all."""
    total = 0
    for member in members:
        with suppress(OSError):
            lines = Path(f"/proc/{member.pid}/smaps_rollup").read_text(encoding="ascii")
            total += _kib_bytes(lines, "Pss")
    return total


def _available_memory_bytes() -> int:
    return _kib_bytes(Path("/proc/meminfo").read_text(encoding="ascii"), "MemAvailable")


def _kib_bytes(lines: str, name: str) -> int:
    r"""Return one number of a file of the kernel that counts in KiB.

    >>> _kib_bytes("MemTotal:  8 kB\nMemAvailable:  2 kB\n", "MemAvailable")
    2048
    """
    values = dict(line.split(":", 1) for line in lines.splitlines() if ":" in line)
    return int(values[name].split()[0]) * 1024


def _free_bytes(folder: Path) -> int:
    """Return the free room of the disk on which a folder lies, or will lie."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _file_system(folder: Path) -> str:
    """Return the kind of the file system on which a folder lies."""
    kinds = {}
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _device, point, kind, *_ = line.split(" ")
        kinds[Path(point.encode().decode("unicode_escape"))] = kind
    resolved = folder.resolve()
    return next((kinds[place] for place in (resolved, *resolved.parents) if place in kinds), "")
