"""The promises of `Limiter` and `Enclosure`, for every limiter that this machine allows.

Real processes in real control groups where they can be made. The unified hierarchy of this suite's
machines often has no memory controller; what is written into version 2 is then held to a tree of
plain files, and its killing and removing to a real group without controllers.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.adapters import cgroup_place
from supervisor.adapters.cgroup_limiter import CgroupLimiter
from supervisor.adapters.cgroup_place import find_hierarchy
from supervisor.adapters.cgroup_versions import (
    Version1,
    Version2,
    kill_until_empty,
    members,
    remove_group,
)
from supervisor.adapters.psutil_processes import PsutilProcesses
from supervisor.adapters.rlimit_limiter import RlimitLimiter
from supervisor.cell.spawn import Spawned, spawn
from supervisor.core.spec import Criticality, Quota, SegmentSpec
from supervisor.errors import QuotaUnenforceable
from supervisor.runtime.mark import Mark
from supervisor.runtime.ports import Enclosure, Limiter, Usage

MIB = 1024**2
SCOPE = f"contract{os.getpid()}"
PATH = "zoo/pen/beast"


def make(kind: str, scope: str = SCOPE) -> Limiter:
    if kind == "rlimit":
        return RlimitLimiter(PsutilProcesses(), scope=scope)
    try:
        return CgroupLimiter(find_hierarchy(), scope=scope)
    except QuotaUnenforceable as error:
        pytest.skip(str(error))


@pytest.fixture(params=["cgroup", "rlimit"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def limiter(kind: str) -> Iterator[Limiter]:
    made = make(kind)
    yield made
    made.sweep("zoo", {})
    if isinstance(made, CgroupLimiter):
        folders = made._hierarchy.folders(made._top)
        assert [folder for folder in folders if folder.exists()] == [], "nothing is left behind"


class Inhabited:
    """An enclosure with a process in it."""

    def __init__(
        self, limiter: Limiter, program: list[str], path: str, incarnation: int, **quota: Any
    ) -> None:
        spec = SegmentSpec(name=path.rsplit("/", 1)[-1], quota=Quota(**quota))
        token = str(Mark.fresh(limiter_scope(limiter), path, incarnation))
        self.enclosure: Enclosure = limiter.enclose(path, incarnation, spec, token)
        self.spawned: Spawned = spawn(
            program,
            self.enclosure.entry,
            folder="/",
            environment={"PATH": os.environ["PATH"], "PSUP_TOKEN": token},
            output_fd=2,
        )
        assert os.read(self.spawned.report_fd, 1000) == b"", "the program runs"
        self.pid = self.spawned.process.pid

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for what the program does by itself."""
        deadline_s = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline_s, "the program did not get there"
            time.sleep(0.005)

    def end(self) -> None:
        self.enclosure.kill_all(self.pid)
        self.spawned.process.wait()
        self.spawned.close()
        self.enclosure.remove()


def limiter_scope(limiter: Limiter) -> str:
    if isinstance(limiter, RlimitLimiter):
        return limiter._scope
    assert isinstance(limiter, CgroupLimiter)
    return limiter._top.rpartition("/")[2]


@pytest.fixture
def inhabit(limiter: Limiter) -> Iterator[Callable[..., Inhabited]]:
    made = []

    def start(*program: str, path: str = PATH, incarnation: int = 1, **quota: Any) -> Inhabited:
        made.append(Inhabited(limiter, list(program), path, incarnation, **quota))
        return made[-1]

    yield start
    for one in made:
        one.end()


# ------------------------------------------------------------------------------------ every limiter


def test_modes_and_what_they_hold(limiter: Limiter, kind: str) -> None:
    """The answer is honest: kernel, sampled or none; field names and words are both understood."""
    memory = {"cgroup": "kernel", "rlimit": "sampled"}[kind]
    assert limiter.mode.startswith(kind)
    assert limiter.holds("memory_bytes") == limiter.holds("memory") == memory
    assert limiter.holds("processes") == memory
    assert limiter.holds("open_files") == "kernel"
    assert limiter.holds("cpu") == {"cgroup": "kernel", "rlimit": "none"}[kind]
    assert (limiter.holds("disk"), limiter.holds("time")) == ("sampled", "sampled")
    assert limiter.holds("gpus") == "none"


def test_enforcement_names_the_declared_quotas_only(inhabit) -> None:
    """What was not declared is not claimed to be held."""
    one = inhabit("sleep", "600", memory_bytes=64 * MIB, disk_bytes=MIB)
    assert one.enclosure.enforcement.keys() == {"memory", "disk"}


def test_every_process_of_the_life_is_found(inhabit) -> None:
    """Children, and children of another session whose parent has gone."""
    one = inhabit("sh", "-c", "setsid sh -c 'sleep 600 & exec sleep 600' & sleep 600")
    one.until(lambda: len(one.enclosure.pids(one.pid)) == 4)
    assert one.pid in one.enclosure.pids(one.pid)
    assert os.getpid() not in one.enclosure.pids(one.pid)


def test_nobody_survives_kill_all(inhabit) -> None:
    """It returns when none is left, whatever they ignore."""
    script = "trap '' TERM HUP INT; for i in 1 2 3 4 5; do setsid sleep 600 & done; wait"
    one = inhabit("sh", "-c", script)
    one.until(lambda: len(one.enclosure.pids(one.pid)) == 6)
    pids = one.enclosure.pids(one.pid)
    one.enclosure.kill_all(one.pid)
    assert one.enclosure.pids(one.pid) == []
    one.spawned.process.wait()
    assert not any(Path(f"/proc/{pid}").exists() and _state(pid) != "Z" for pid in pids)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"


def test_processes_that_fork_for_ever_are_ended_too(inhabit) -> None:
    """Killing outruns a program that replaces its children as fast as it can."""
    one = inhabit("sh", "-c", "while :; do sleep 600 & sleep 0.01; done", processes=200)
    one.until(lambda: len(one.enclosure.pids(one.pid)) > 5)
    one.enclosure.kill_all(one.pid)
    assert one.enclosure.pids(one.pid) == []


def test_killing_an_empty_enclosure_is_harmless(inhabit) -> None:
    """The last step of every life, also of one that ended well."""
    one = inhabit("true")
    one.spawned.process.wait()
    one.enclosure.kill_all(one.pid)
    one.enclosure.kill_all(one.pid)


def test_usage_covers_the_whole_tree(inhabit) -> None:
    """Memory, processor time, processes and open files of body and children."""
    code = "held = bytearray(40 << 20); import time; time.sleep(600)"
    one = inhabit("sh", "-c", f"'{sys.executable}' -c '{code}' & sleep 600")
    one.until(lambda: (one.enclosure.usage(one.pid).memory_bytes or 0) > 40 * MIB)
    usage = one.enclosure.usage(one.pid)
    assert 40 * MIB < usage.memory_bytes < 80 * MIB
    assert usage.peak_memory_bytes >= usage.memory_bytes
    assert usage.cpu_s > 0
    assert usage.processes == 3
    assert usage.open_files >= 9


def test_no_breach_below_the_quotas(inhabit) -> None:
    """Only what is over is over."""
    one = inhabit("sleep", "600", memory_bytes=64 * MIB, processes=8)
    assert one.enclosure.breach(one.enclosure.usage(one.pid)) is None
    assert one.enclosure.oom_kills() == 0


def test_a_new_life_ends_what_an_older_one_left(limiter: Limiter, kind: str, inhabit) -> None:
    """A cell that was killed left children behind: there is one living incarnation at most."""
    old = inhabit("sleep", "600", incarnation=1)
    other = inhabit("sleep", "600", path="zoo/pen/beast2", incarnation=1)
    fresh = make(kind)  # as the next cell has it
    spec = SegmentSpec(name="beast")
    made = fresh.enclose(PATH, 2, spec, str(Mark.fresh(SCOPE, PATH, 2)))
    assert old.spawned.process.wait(timeout=30) == -signal.SIGKILL
    assert other.spawned.process.poll() is None, "another segment's life is its own"
    made.remove()


def test_sweeping_spares_what_is_kept(limiter: Limiter, inhabit) -> None:
    """The current incarnation stays, older ones, unknown paths and no other pipeline's go."""
    kept = inhabit("sleep", "600", path="zoo/a", incarnation=3)
    stale = inhabit("sleep", "600", path="zoo/b", incarnation=1)
    unknown = inhabit("sleep", "600", path="zoo/pen/c", incarnation=1)
    elsewhere = inhabit("sleep", "600", path="zoology/b", incarnation=1)
    removed = limiter.sweep("zoo", {"zoo/a": 3, "zoo/b": 2})
    assert len(removed) == 2
    assert stale.spawned.process.wait(timeout=30) == -signal.SIGKILL
    assert unknown.spawned.process.wait(timeout=30) == -signal.SIGKILL
    assert kept.spawned.process.poll() is None
    assert elsewhere.spawned.process.poll() is None
    assert limiter.sweep("zoo", {"zoo/a": 3}) == []
    assert len(limiter.sweep("zoology", {})) == 1


def test_another_home_is_another_world(limiter: Limiter, kind: str, inhabit) -> None:
    """Two homes may run pipelines of the same name side by side."""
    ours = inhabit("sleep", "600")
    foreign = make(kind, scope=SCOPE + "x")
    assert foreign.sweep("zoo", {}) == []
    made = foreign.enclose(PATH, 9, SegmentSpec(name="beast"), str(Mark.fresh("x", PATH, 9)))
    assert ours.spawned.process.poll() is None
    made.remove()
    foreign.sweep("zoo", {})


def test_criticality_decides_who_goes_first(limiter: Limiter) -> None:
    """Score, niceness and weight point the same way."""
    entries = {}
    for number, criticality in enumerate(Criticality):
        path = f"zoo/{criticality.value}"
        spec = SegmentSpec(name=criticality.value, criticality=criticality)
        made = limiter.enclose(path, number, spec, str(Mark.fresh(SCOPE, path, number)))
        entries[criticality] = made.entry
        made.remove()
    best, normal, critical = (entries[one] for one in Criticality)
    assert best.oom_score_adj > normal.oom_score_adj > critical.oom_score_adj
    assert best.nice >= normal.nice >= critical.nice


# ----------------------------------------------------------------------------------- control groups


@pytest.fixture
def groups() -> Iterator[CgroupLimiter]:
    made = make("cgroup")
    assert isinstance(made, CgroupLimiter)
    yield made
    made.sweep("zoo", {})


def test_the_kernel_is_told_every_limit(groups: CgroupLimiter) -> None:
    """What was declared stands in the group's files."""
    if groups.mode != "cgroup1":
        pytest.skip("version 2 is held to a tree of files below")
    quota = Quota(memory_bytes=64 * MIB, cpu_cores=0.25, processes=7)
    made = groups.enclose(PATH, 1, SegmentSpec(name="beast", quota=quota), "")
    hierarchy = groups._hierarchy
    assert isinstance(hierarchy, Version1)

    def read(controller: str, file: str) -> int:
        return int((hierarchy._at(controller, made.name) / file).read_text())

    assert read("memory", "memory.limit_in_bytes") == 64 * MIB
    assert read("cpu", "cpu.cfs_quota_us") / read("cpu", "cpu.cfs_period_us") == 0.25
    assert read("pids", "pids.max") == 7
    made.remove()


def test_a_group_that_a_body_made_inside_is_removed_too(groups: CgroupLimiter) -> None:
    """A body with rights may make groups of its own, and hide in them."""
    made = groups.enclose(PATH, 1, SegmentSpec(name="beast"), "")
    inner = groups._hierarchy.folders(made.name)[0] / "inner" / "most"
    inner.mkdir(parents=True)
    hidden = subprocess.Popen(["sleep", "600"])
    (inner / "cgroup.procs").write_text(str(hidden.pid))
    assert made.pids(0) == [hidden.pid]
    made.kill_all(0)
    assert hidden.wait(timeout=30) == -signal.SIGKILL
    if isinstance(groups._hierarchy, Version1):
        forks = groups._hierarchy._at("pids", made.name) / "pids.max"
        assert forks.read_text() == "0\n", "nobody can fork faster than we kill"
    made.remove()
    assert not inner.parent.parent.exists()


def test_an_oom_event_is_heard(groups: CgroupLimiter) -> None:
    """The descriptor becomes readable, and the kill is counted."""
    quota = Quota(memory_bytes=32 * MIB)
    code = "held = []\nwhile True: held.append(bytearray(1 << 20))"
    one = Inhabited(groups, [sys.executable, "-c", code], PATH, 1, memory_bytes=quota.memory_bytes)
    assert one.spawned.process.wait(timeout=60) == -signal.SIGKILL
    fd = one.enclosure.oom_event_fd()
    if groups.mode == "cgroup1":
        assert fd is not None
        assert os.eventfd_read(fd) >= 1
    assert one.enclosure.oom_kills() == 1
    one.end()


def test_without_rights_the_obstacles_are_named(tmp_path: Path) -> None:
    """A person reads what is missing, and what to type."""
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text("22 1 0:5 / /proc rw - proc proc rw\n")
    with pytest.raises(QuotaUnenforceable, match="version 2 is not mounted; version 1 has no"):
        find_hierarchy(
            cgroup_file=str(tmp_path / "cgroup"), mountinfo_file=str(tmp_path / "mountinfo")
        )


def test_our_place_is_below_our_own_group() -> None:
    """In a container the mount shows only a part of the hierarchy."""
    mount = cgroup_place._Mount(Path("/sys/fs/cgroup/m"), "/docker/x", frozenset({"memory"}), 1)
    assert mount.group("/docker/x/inner") == Path("/sys/fs/cgroup/m/inner")
    assert mount.group("/docker/x") == Path("/sys/fs/cgroup/m")
    own = cgroup_place._own_groups("9:name=systemd:/\n4:cpu,cpuacct:/a:b\n0::/u\n")
    assert own == {"name=systemd": "/", "cpu": "/a:b", "cpuacct": "/a:b", "": "/u"}


# ---------------------------------------------------------------------- version 2, in plain files


def write_tree(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_version_2_is_told_every_limit(tmp_path: Path) -> None:
    """The files and their format are those of the kernel's documentation."""
    write_tree(tmp_path / "g", {"memory.swap.max": "max\n"})
    quota = Quota(memory_bytes=64 * MIB, cpu_cores=1.5, processes=7)
    spec = SegmentSpec(name="x", quota=quota, criticality=Criticality.CRITICAL)
    Version2(tmp_path).limit("g", spec)
    written = {file.name: file.read_text() for file in (tmp_path / "g").iterdir()}
    assert written == {
        "memory.oom.group": "1",
        "memory.max": str(64 * MIB),
        "memory.swap.max": "0",
        "cpu.weight": "400",
        "cpu.max": "150000 100000",
        "pids.max": "7",
    }


def test_version_2_counters_are_read(tmp_path: Path) -> None:
    """File cache that would be dropped first is no use of memory."""
    write_tree(
        tmp_path / "g",
        {
            "memory.current": "1000\n",
            "memory.peak": "5000\n",
            "memory.stat": "anon 600\ninactive_file 300\n",
            "memory.events": "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\n",
            "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
            "pids.current": "3\n",
            "pids.events": "max 4\n",
        },
    )
    version2 = Version2(tmp_path)
    assert version2.usage("g") == Usage(700, 5000, 2.5, 3)
    assert version2.oom_kills("g") == 2
    assert version2.counters("g") == {"memory_failcnt": 12, "refused_forks": 4}
    assert version2.open_oom_event("g") is None


def test_version_2_makes_room_in_a_delegated_group(tmp_path: Path) -> None:
    """A group that limits its children may hold no process: everybody moves into a leaf."""
    own = tmp_path / "user.slice" / "run.scope"
    write_tree(
        own,
        {
            "cgroup.controllers": "cpu io memory pids\n",
            "cgroup.subtree_control": "\n",
            "cgroup.type": "domain\n",
            "cgroup.procs": "17\n",
        },
    )
    mount = cgroup_place._Mount(tmp_path, "/", frozenset(), 2)
    found = cgroup_place._find_version2({"": "/user.slice/run.scope"}, [mount])
    assert found.folders("x") == [own / "x"]
    assert (own / "psup-host" / "cgroup.procs").read_text() == "17"
    assert (own / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"
    (own / "cgroup.subtree_control").write_text("cpu memory pids")
    again = cgroup_place._find_version2({"": "/user.slice/run.scope/psup-host"}, [mount])
    assert again.folders("x") == [own / "x"]


def test_version_2_without_a_controller_is_refused(tmp_path: Path) -> None:
    """The missing one is named."""
    write_tree(tmp_path, {"cgroup.controllers": "cpu pids\n", "cgroup.subtree_control": ""})
    mount = cgroup_place._Mount(tmp_path, "/", frozenset(), 2)
    with pytest.raises(QuotaUnenforceable, match="no memory controller"):
        cgroup_place._find_version2({"": "/"}, [mount])


def test_version_2_kills_and_removes_a_real_group() -> None:
    """Needs no controller: `cgroup.kill` takes children that left their session too."""
    mounts = cgroup_place._mounts(Path("/proc/self/mountinfo").read_text())
    mount = next((mount for mount in mounts if mount.version == 2), None)
    if mount is None or not os.access(mount.point, os.W_OK):
        pytest.skip("no writable version 2 hierarchy")
    version2, name = Version2(mount.point), f"psup-test-{os.getpid()}"
    folder = version2.folders(name)[0]
    folder.mkdir()
    process = subprocess.Popen(
        ["sh", "-c", "read go; setsid sleep 600 & sleep 600"], stdin=subprocess.PIPE
    )
    (folder / "cgroup.procs").write_text(str(process.pid))
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.close()
    deadline_s = time.monotonic() + 30
    while len(members(version2, name)) < 3:
        assert time.monotonic() < deadline_s
        time.sleep(0.005)
    kill_until_empty(version2, name)
    assert process.wait(timeout=30) == -signal.SIGKILL
    remove_group(version2, name)
    assert not folder.exists()


# -------------------------------------------------------------------------------- without any group


def test_sampled_quotas_are_breaches() -> None:
    """Memory before processes, by the words of the pipeline file."""
    limiter = RlimitLimiter(PsutilProcesses(), scope=SCOPE)
    spec = SegmentSpec(name="x", quota=Quota(memory_bytes=100, processes=2))
    made = limiter.enclose("zoo/x", 1, spec, str(Mark.fresh(SCOPE, "zoo/x", 1)))
    assert made.breach(Usage(memory_bytes=101, processes=3)) == "memory"
    assert made.breach(Usage(memory_bytes=100, processes=3)) == "processes"
    assert made.breach(Usage(memory_bytes=100, processes=2)) is None
    assert made.breach(Usage()) is None


def test_a_mark_that_nobody_carries_finds_nobody() -> None:
    """Leftovers are looked for without a body: no session, and no parent, may stand in for it.

    The kernel's threads and the first process have the session 0; whoever takes that for a body's
    has the whole machine for its children.
    """
    family = PsutilProcesses().family(str(Mark.fresh(SCOPE, PATH, 1)))
    assert family.find(None) == []
    assert family.find(0) == []


def test_a_cell_never_counts_itself_or_its_parents() -> None:
    """Also when it was launched from within a body, and so carries that body's mark."""
    script = (
        "import os; from supervisor.adapters.psutil_processes import PsutilProcesses as P; "
        "print(P().family('outer').find(os.getsid(0)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PSUP_TOKEN": "outer"},
        capture_output=True,
        text=True,
        check=True,
        start_new_session=True,
    )
    assert told.stdout == "[]\n"


def test_limits_of_the_process_itself_are_set() -> None:
    """A single process meets its limit before the tree is measured."""
    limiter = RlimitLimiter(PsutilProcesses(), scope=SCOPE)
    quota = Quota(memory_bytes=64 * MIB, open_files=9, disk_bytes=5, cpu_cores=0.5)
    made = limiter.enclose("zoo/x", 1, SegmentSpec(name="x", quota=quota), "t")
    assert made.entry.rlimits == {
        "RLIMIT_DATA": 64 * MIB,
        "RLIMIT_NOFILE": 9,
        "RLIMIT_FSIZE": 5,
    }
    cores = len(os.sched_getaffinity(0))
    assert len(made.entry.cores) == (1 if cores > 1 else 0)


def test_shared_pages_are_divided_before_anybody_is_killed() -> None:
    """Children of a fork share most of their memory: counted twice it would be a false breach."""
    code = (
        "import os, time; held = b'x' * (60 << 20)\nfor _ in range(3): os.fork() or time.sleep(600)"
    )
    limiter = RlimitLimiter(PsutilProcesses(), scope=SCOPE)
    path, quota = "zoo/sharing", {"memory_bytes": 150 * MIB}
    one = Inhabited(limiter, [sys.executable, "-c", code + "\ntime.sleep(600)"], path, 1, **quota)
    one.until(lambda: len(one.enclosure.pids(one.pid)) == 4)
    family = one.enclosure._family
    family.find(one.pid)
    assert family.resident_bytes() > 150 * MIB
    assert one.enclosure.breach(one.enclosure.usage(one.pid)) is None
    one.end()
