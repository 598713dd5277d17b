"""The first instructions of every body: become what the cell decided, then execute the program.

Runs as `python -I -S -E enter.py FLAGS -- PROGRAM ARGS`, in a process of its own, alone: nothing is
charged to the cell, and nothing of the user's has run yet, so a limit set here holds from the first
byte. A limit that cannot be set ends the process: a body never runs with less protection than was
promised. Imports nothing that is not built in or needed, for this is paid at every restart.

FLAGS, in the order in which they take effect:
    --report FD       where to write why the program could not be executed; closed by its success
    --parent PID      die (SIGKILL) when this process, which started us, dies
    --join FILE       a cgroup to enter, by writing 0 to this file
    --nice N, --oom-score-adj N, --cores 0,1, --rlimit RLIMIT_NOFILE=64
"""

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9
CANNOT_EXECUTE = 127


def main(arguments: list[str]) -> None:
    """Apply the flags and execute the program; on failure report it and exit with 127."""
    end = arguments.index("--")
    flags = list(zip(arguments[:end:2], arguments[1:end:2], strict=True))
    program = arguments[end + 1 :]
    report_fd = int(dict(flags)["--report"])
    os.set_inheritable(report_fd, False)
    _forget_signals()
    try:
        for flag, value in flags:
            STEPS[flag](value)
        os.execvp(program[0], program)  # noqa: S606  the user's program, without a shell
    except (OSError, ValueError) as error:
        text = f"{type(error).__name__}: {_explain(error, program[0])}"
        os.write(report_fd, text.encode(errors="replace"))
        os._exit(CANNOT_EXECUTE)


def _explain(error: Exception, program: str) -> str:
    if isinstance(error, OSError) and error.filename is None:
        return f"{error.strerror}: {program!r}"
    return str(error)


def _forget_signals() -> None:
    """Give the program what a shell would: no signal ignored, none blocked.

    Ray's workers block SIGINT, and Python itself ignores SIGPIPE; both would be inherited.
    """
    import _signal as signals  # type: ignore[import-not-found]  # `signal` takes 3 ms more

    for number in signals.valid_signals():
        if signals.getsignal(number) not in (signals.SIG_DFL, None):
            signals.signal(number, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_SETMASK, [])


def _keep_report(_value: str) -> None:
    """`--report` was taken before anything could fail."""


def _die_with(value: str) -> None:
    _prctl(PR_SET_PDEATHSIG, SIGKILL)
    if os.getppid() != int(value):  # it died before we asked to hear of it
        os._exit(CANNOT_EXECUTE)


def _prctl(option: int, argument: int) -> None:
    try:
        import _ctypes as native  # a quarter of the time that `import ctypes` takes

        prctl = native.dlsym(native.dlopen("", 0), "prctl")
        failed = native.call_function(prctl, (option, argument, 0, 0, 0))
    except (ImportError, AttributeError):  # not a promise of Python; the long way is
        import ctypes

        failed = ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
    if failed:
        raise OSError(0, f"prctl({option}) was refused")


def _join(value: str) -> None:
    _write(value, "0")


def _renice(value: str) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, 0, int(value))
    except PermissionError:
        # Only root may take back niceness that the cell was started with. It changes who goes
        # first, not how much anybody may use: no promise is broken.
        return


def _adjust_oom_score(value: str) -> None:
    """Like niceness only an order of precedence: below zero needs a right, so zero will do."""
    try:
        _write("/proc/self/oom_score_adj", value)
    except PermissionError:
        if int(value) < 0:
            _adjust_oom_score("0")


def _pin(value: str) -> None:
    os.sched_setaffinity(0, {int(core) for core in value.split(",")})


def _limit(value: str) -> None:
    import resource

    name, _, number = value.partition("=")
    kind = getattr(resource, name)
    _soft, hard = resource.getrlimit(kind)
    wanted = int(number)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(kind, (wanted, wanted))


def _write(file: str, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


STEPS = {
    "--report": _keep_report,
    "--parent": _die_with,
    "--join": _join,
    "--nice": _renice,
    "--oom-score-adj": _adjust_oom_score,
    "--cores": _pin,
    "--rlimit": _limit,
}

if __name__ == "__main__":
    main(sys.argv[1:])
