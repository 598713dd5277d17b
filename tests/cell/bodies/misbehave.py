"""Bodies for the cell's tests: each does one thing, most of them a wrong one."""

import os
import signal
import subprocess
import sys
import time

MIB = 1024**2


def quick(ctx):
    print("hello from", ctx.path)


def boom(ctx):
    raise ValueError("no good")


def nothing_to_call(ctx):
    raise SystemExit(7)


def serve(ctx):
    ctx.stopping.wait()


def never_ready(ctx):
    time.sleep(600)


def says_ready(ctx):
    ctx.status("warming up")
    ctx.progress(3, 4)
    ctx.ready()
    ctx.ready()
    ctx.stopping.wait()


def six_heartbeats(ctx):
    for number in range(6):
        time.sleep(0.15)
        print("beat", number)
        ctx.heartbeat()
    time.sleep(600)


def leak(ctx):
    held = []
    while True:
        held.append(bytearray(MIB))


def leak_in_child(ctx):
    """Survive the death of a child, as a pool of workers does, and wait for ever."""
    code = "held = []\nwhile True: held.append(bytearray(1 << 20))"
    subprocess.run([sys.executable, "-c", code], check=False)
    time.sleep(600)


def forked_leak(ctx):
    """Share the quota among children, none of which is over it alone."""
    for _ in range(4):
        if os.fork() == 0:
            held = bytearray(40 * MIB)
            time.sleep(600)
            del held
    time.sleep(600)


def fork_many(ctx):
    """Start children until refused."""
    for _ in range(40):
        subprocess.Popen(["sleep", "600"])
    time.sleep(600)


def orphan(ctx):
    """Leave behind a child of another session whose parent has gone, and end well."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()


def deaf(ctx):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctx.ready()
    time.sleep(600)


def segfault(ctx):
    os.kill(os.getpid(), signal.SIGSEGV)


def spill(ctx):
    for number in range(100):
        (ctx.scratch / f"{number}.bin").write_bytes(b"x" * MIB)
    time.sleep(600)


def spill_when_stopped(ctx):
    ctx.stopping.wait()
    spill(ctx)


def chatter(ctx):
    for number in range(110_000):
        print(number, "some words that fill the log of this life")
    print("the last line")


def spin(ctx):
    ctx.ready()
    while True:
        pass


def stop_in_child(ctx):
    """A forked child must meet the stop signal's default, not its parent's handler."""
    born, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(tell, b".")
        time.sleep(600)
    os.read(born, 1)  # Python loses signals that arrive inside fork itself
    os.kill(child, signal.SIGTERM)
    _, status = os.wait()
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert not ctx.stopping.wait(0.05)


async def later(ctx):
    print("ran later")


class Group:
    @staticmethod
    def inner(ctx):
        print("inner")
