"""How often bodies are looked at, and what people are told."""

from __future__ import annotations

from dataclasses import replace

from supervisor.cell.hearing import Said
from supervisor.cell.sampling import ENFORCING_S, REPORT_S, Sampling, limits
from supervisor.core.spec import Quota
from supervisor.runtime.ports import Usage


class Watched:
    """An enclosure that holds its quotas in the way it is told, and breaches above 100 bytes."""

    def __init__(self, **enforcement: str) -> None:
        self.enforcement = enforcement

    def breach(self, usage: Usage) -> str | None:
        return "memory" if (usage.memory_bytes or 0) > 100 else None


def test_looking_is_quick_only_where_it_is_the_enforcement() -> None:
    """The kernel needs no help; a sampled quota needs twenty looks a second."""
    assert Sampling(Quota(), Watched(memory="kernel")).period_s == REPORT_S
    assert Sampling(Quota(), Watched(memory="sampled")).period_s == ENFORCING_S <= 0.05
    assert Sampling(Quota(), Watched(disk="sampled")).period_s == REPORT_S


def test_a_breach_is_named_at_the_look() -> None:
    """The enclosure judges; the sampling passes it on."""
    sampling = Sampling(Quota(), Watched(memory="sampled"))
    assert sampling.look(Usage(memory_bytes=100)) is None
    assert sampling.look(Usage(memory_bytes=101)) == "memory"


def test_the_report_holds_use_and_words() -> None:
    """The highest use is remembered where the kernel does not."""
    sampling = Sampling(Quota(), Watched())
    sampling.look(Usage(memory_bytes=50, cpu_s=1.0, processes=2, open_files=3))
    sampling.look(Usage(memory_bytes=20, cpu_s=1.0, processes=2, open_files=3))
    sampling.take(Said(status="at work"))
    sampling.take(Said(progress=(1.0, 2.0)))
    report = sampling.report()
    assert (report["memory_bytes"], report["peak_memory_bytes"]) == (20, 50)
    assert (report["status"], report["progress"]) == ("at work", (1.0, 2.0))
    assert sampling.report_is_due is False


def test_cpu_is_a_rate_between_two_reports() -> None:
    """One report alone says nothing about cores in use."""
    sampling = Sampling(Quota(), Watched())
    usage = Usage(cpu_s=1.0)
    sampling.look(usage)
    assert sampling.report()["cpu_cores"] is None
    sampling.look(replace(usage, cpu_s=1.0))
    assert sampling.report()["cpu_cores"] == 0.0
    sampling.look(replace(usage, cpu_s=2.0))
    assert sampling.report()["cpu_cores"] > 0


def test_disk_is_over_only_above_its_quota() -> None:
    """Exactly full is not over; without a quota nothing is."""
    sampling = Sampling(Quota(disk_bytes=10), Watched())
    assert (sampling.disk_breached(10), sampling.disk_breached(11)) == (False, True)
    assert Sampling(Quota(), Watched()).disk_breached(1 << 60) is False


def test_only_declared_limits_are_evidence() -> None:
    """What nobody declared is not shown as a limit."""
    assert limits(Quota(memory_bytes=5, time_s=1.0)) == {"memory_bytes": 5, "time_s": 1.0}
