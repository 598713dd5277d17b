"""The steady clock over restarts, reboots, and wall clocks that lie."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.runtime.clock import ManualClock, Moment, SteadyClock
from supervisor.runtime.process_identity import boot_id


class Machine:
    """A machine whose clocks and boots a test moves."""

    def __init__(self, wall_s=1_700_000_000.0):
        self.boots = 1
        self.booted_s = 500.0
        self.wall_s = wall_s

    def resume(self, info, last):
        return SteadyClock.resume(
            info,
            last,
            boot_id=f"boot {self.boots}",
            boot_clock_s=lambda: self.booted_s,
            wall_s=lambda: self.wall_s,
        )

    def run(self, seconds):
        self.booted_s += seconds
        self.wall_s += seconds

    def reboot(self, off_s):
        self.boots += 1
        self.booted_s = 3.0
        self.wall_s += off_s


def test_it_begins_near_unix_time():
    """The first launch sets the steady time to what the wall clock says."""
    assert Machine(wall_s=1_700_000_000.0).resume({}, None).now_s() == 1_700_000_000.0


def test_it_follows_the_boot_clock_and_not_the_wall_clock():
    """Setting the wall clock moves nothing."""
    machine = Machine()
    clock = machine.resume({}, None)
    before_s = clock.now_s()
    machine.run(10.0)
    machine.wall_s -= 86_400.0
    assert clock.now_s() == before_s + 10.0


def test_a_restarted_daemon_goes_on_with_the_same_time():
    """The kept offset makes a new process read the very same time."""
    machine = Machine()
    first = machine.resume({}, None)
    machine.run(10.0)
    machine.wall_s += 3_600.0  # somebody set the clock
    second = machine.resume(first.facts(), Moment(first.now_s() - 5.0, machine.wall_s - 5.0))
    assert second.now_s() == first.now_s()
    assert second.facts() == first.facts()


def test_a_reboot_goes_on_from_the_last_moment():
    """After a reboot the time that the machine was off has passed as well."""
    machine = Machine()
    before = machine.resume({}, None)
    machine.run(100.0)
    last = Moment(before.now_s(), machine.wall_s)
    machine.reboot(off_s=40.0)
    after = machine.resume(before.facts(), last)
    assert after.now_s() == last.at_s + 40.0
    assert after.facts()["boot_id"] == "boot 2"


def test_a_reboot_with_a_lost_wall_clock_does_not_go_back():
    """A machine that wakes up in 1970 goes on from where it was."""
    machine = Machine()
    before = machine.resume({}, None)
    last = Moment(before.now_s(), machine.wall_s)
    machine.reboot(off_s=-machine.wall_s)
    after = machine.resume(before.facts(), last)
    assert after.now_s() == last.at_s
    machine.run(1.0)
    assert after.now_s() == last.at_s + 1.0


def test_a_boot_clock_that_jumps_back_does_not_take_time_with_it():
    """A container with a boot clock of its own, in the same boot, goes on from the last moment."""
    machine = Machine()
    before = machine.resume({}, None)
    machine.run(100.0)
    last = Moment(before.now_s(), machine.wall_s)
    machine.booted_s = 7.0
    assert machine.resume(before.facts(), last).now_s() == last.at_s


def test_a_relaunch_without_facts_does_not_go_back():
    """History alone, with the facts lost, is enough not to go back."""
    machine = Machine()
    last = Moment(machine.wall_s + 1_000.0, machine.wall_s)
    assert machine.resume({}, last).now_s() == last.at_s


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("run"), st.floats(0.0, 1e6)),
            st.tuples(st.just("set wall"), st.floats(-1e9, 1e9)),
            st.tuples(st.just("restart"), st.just(0.0)),
            st.tuples(st.just("reboot"), st.floats(-1e6, 1e6)),
        ),
        max_size=30,
    )
)
def test_it_never_goes_backwards(happenings):
    """Whatever happens to the machine, what is read and written down only grows."""
    machine = Machine()
    clock = machine.resume({}, None)
    last = Moment(clock.now_s(), machine.wall_s)
    for what, amount in happenings:
        if what == "run":
            machine.run(amount)
        elif what == "set wall":
            machine.wall_s += amount
        else:
            if what == "reboot":
                machine.reboot(amount)
            clock = machine.resume(clock.facts(), last)
        now_s = clock.now_s()
        # Offset and boot clock are added up anew: the last bit of a float may differ.
        assert now_s >= last.at_s - 1e-6
        last = Moment(max(now_s, last.at_s), machine.wall_s)


def test_the_real_clock_moves_and_can_be_resumed():
    """The kernel's own clock and boot id serve as the default."""
    clock = SteadyClock.resume({}, None)
    first_s = clock.now_s()
    assert abs(first_s - time.time()) < 60.0
    assert clock.facts()["boot_id"] == boot_id()
    resumed = SteadyClock.resume(clock.facts(), Moment(first_s, time.time()))
    assert resumed.facts() == clock.facts()
    assert resumed.now_s() >= first_s


def test_the_manual_clock_moves_only_forwards():
    """A test that would turn time back is told so."""
    clock = ManualClock(100.0)
    clock.advance(5.0)
    clock.set(107.0)
    assert clock.now_s() == 107.0
    with pytest.raises(ValueError, match="cannot go back from 107"):
        clock.set(106.0)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1.0)
    assert clock.now_s() == 107.0
