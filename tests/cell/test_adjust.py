"""A living body is held to another spec: limits in its group, health checks in its cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from cell_world import MIB, SEGMENT, CellWorld

from supervisor.adapters.cgroup_place import find_hierarchy
from supervisor.core.codec import encode_spec
from supervisor.core.events import Exited, ExitKind, Ready, Unresponsive
from supervisor.core.spec import Health, Probe, Quota, SegmentSpec

SPEC = SegmentSpec("beast", quota=Quota(memory_bytes=64 * MIB, processes=9, cpu_cores=1.0))


def limits(name: str) -> dict[str, str]:
    """Return what the kernel holds a group to."""
    files = {
        "memory": ("memory.max", "memory.limit_in_bytes"),
        "processes": ("pids.max",),
        "cpu": ("cpu.max", "cpu.cfs_quota_us"),
    }
    folders = [Path(folder) for folder in find_hierarchy().folders(name)]
    return {
        quota: (folder / file).read_text().split()[0]
        for quota, names in files.items()
        for folder in folders
        for file in names
        if (folder / file).exists()
    }


def test_a_group_gets_larger_and_smaller_limits(kernel_world: CellWorld) -> None:
    """Up and down, in whatever order the kernel wants memory and swap to be written."""
    enclosure = kernel_world.limiter.enclose(SEGMENT, 1, SPEC, "mark")
    try:
        for memory_mib, processes, cores in ((256, 20, 2.0), (32, 5, 0.5)):
            quota = Quota(memory_bytes=memory_mib * MIB, processes=processes, cpu_cores=cores)
            enclosure.adjust(replace(SPEC, quota=quota))
            assert limits(enclosure.name) == {
                "memory": str(memory_mib * MIB),
                "processes": str(processes),
                "cpu": str(int(cores * 100_000)),
            }
    finally:
        enclosure.remove()


def test_a_limit_can_be_taken_away(kernel_world: CellWorld) -> None:
    """What the spec no longer bounds, the kernel no longer does."""
    enclosure = kernel_world.limiter.enclose(SEGMENT, 1, SPEC, "mark")
    try:
        enclosure.adjust(replace(SPEC, quota=Quota()))
        held = limits(enclosure.name)
        assert held["processes"] == "max"
        assert held["cpu"] in {"max", "-1"}
        assert held["memory"] == "max" or int(held["memory"]) > 2**60
        assert enclosure.enforcement == {}
    finally:
        enclosure.remove()


def test_a_life_ends_with_the_limits_it_had_last(kernel_world: CellWorld) -> None:
    """Its evidence tells the adjusted quota, and the body is the same one."""
    kernel_world.start("serve", memory_bytes=256 * MIB)
    kernel_world.until(Ready)
    pid = kernel_world.cell.describe()["pid"]
    quota = Quota(memory_bytes=512 * MIB)
    kernel_world.cell.adjust(1, encode_spec(replace(SPEC, quota=quota), secrets=False))
    kernel_world.cell.stop(1)
    assert kernel_world.cell.describe()["pid"] == pid
    exited, evidence = kernel_world.until(Exited)
    assert exited.reason.kind is not ExitKind.OOM
    assert evidence["quota"] == {"memory_bytes": 512 * MIB}


def test_less_memory_than_is_in_use_is_left_as_it_was(kernel_world: CellWorld) -> None:
    """The kernel refuses; nobody is killed for it, and the life goes on with what it had."""
    kernel_world.start("serve", memory_bytes=256 * MIB)
    kernel_world.until(Ready)
    tiny = replace(SPEC, quota=Quota(memory_bytes=4096))
    kernel_world.cell.adjust(1, encode_spec(tiny, secrets=False))
    kernel_world.cell.stop(1)
    exited, evidence = kernel_world.until(Exited)
    assert exited.reason.kind is not ExitKind.OOM
    assert evidence["quota"] == {"memory_bytes": 256 * MIB}


def test_another_life_is_not_adjusted(rlimit_world: CellWorld) -> None:
    """An order about a life that is over, or not yet there, changes nothing."""
    rlimit_world.start("serve")
    rlimit_world.until(Ready)
    rlimit_world.cell.adjust(2, encode_spec(SPEC, secrets=False))
    rlimit_world.cell.stop(1)
    _, evidence = rlimit_world.until(Exited)
    assert evidence["quota"] == {}


def test_a_new_health_check_is_asked_at_once(rlimit_world: CellWorld) -> None:
    """A body that nobody asked before is asked now, and its failure is heard."""
    rlimit_world.start("serve")
    rlimit_world.until(Ready)
    probe = Probe("exec", argv=("false",), period_s=0.05, failures=1)
    asked = replace(SPEC, quota=Quota(), health=Health(alive=probe))
    rlimit_world.cell.adjust(1, encode_spec(asked, secrets=False))
    heard, _ = rlimit_world.until(Unresponsive)
    assert heard.detail.startswith("exec: exit code 1")
