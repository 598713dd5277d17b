"""The environment variables of a body, and the command line that starts it.

Only what the launching terminal had, what the pipeline file says, and `PSUP_*`: nothing of the
process the cell happens to live in. Pure. Read next: `body/enter.py`, which runs first.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

from supervisor import body
from supervisor.core.spec import SegmentSpec
from supervisor.runtime.ports import Entry, StartOrder

BODY_FOLDER = Path(body.__file__).parent
DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
THREAD_COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def variables(
    order: StartOrder, *, notify_socket: str, token: str, devices: Mapping[str, str]
) -> dict[str, str]:
    """Return the whole environment of a body.

    Args:
        order: `PSUP_PIPELINE_DIR` and `PSUP_RAY_ADDRESS` come in its environment: they are facts
            of the pipeline, which a cell does not know.
        notify_socket: address that the body speaks to.
        token: the mark that its processes carry.
        devices: the cell's own environment, in which the scheduler says which GPUs it gave. The
            one thing a body takes from there, and only when it asked for GPUs.
    """
    spec = order.spec
    inherited = {
        name: value
        for name, value in order.environment.items()
        if not name.startswith("PSUP_PORT_") and name not in ("WATCHDOG_USEC", "WATCHDOG_PID")
    }
    chosen = {**_for_cpu_quota(spec.quota.cpu_cores), "PYTHONUNBUFFERED": "1"}
    own = {
        "PSUP_PATH": order.path,
        "PSUP_PIPELINE": order.path.split("/", 1)[0],
        "PSUP_SEGMENT": order.path.rsplit("/", 1)[-1],
        "PSUP_INCARNATION": str(order.incarnation),
        "PSUP_ATTEMPT": str(order.attempt),
        "PSUP_LAST_EXIT": "" if order.last_exit is None else str(order.last_exit),
        "PSUP_PARAMS": json.dumps(dict(spec.body.params)),
        "PSUP_SCRATCH": order.scratch,
        "PSUP_CHECKPOINT": order.checkpoint,
        "PSUP_STOP_SIGNAL": spec.shutdown.signal,
        "PSUP_TOKEN": token,
        "NOTIFY_SOCKET": notify_socket,
        **_ports(order),
        **_watchdog(spec),
        **({name: devices[name] for name in DEVICES if name in devices} if spec.quota.gpus else {}),
    }
    return {**chosen, **inherited, **spec.body.env, **own}


def program(order: StartOrder) -> list[str]:
    """Return what the body executes once it has entered."""
    if order.spec.body.command is not None:
        return list(order.spec.body.command)
    assert order.spec.body.run is not None, "the loader lets no body pass that has neither"
    runner = str(BODY_FOLDER / "__main__.py")
    return [sys.executable, runner, f"{order.path}#{order.incarnation}", order.spec.body.run]


def way_in(entry: Entry, *, parent_pid: int, report_fd: int, program: list[str]) -> list[str]:
    """Return the command line that enters, then executes the program."""
    flags = ["--report", str(report_fd), "--parent", str(parent_pid)]
    for file in entry.join:
        flags += ["--join", file]
    flags += ["--nice", str(entry.nice), "--oom-score-adj", str(entry.oom_score_adj)]
    if entry.cores:
        flags += ["--cores", ",".join(map(str, entry.cores))]
    for name, value in entry.rlimits.items():
        flags += ["--rlimit", f"{name}={value}"]
    enter = [sys.executable, "-I", "-S", "-E", str(BODY_FOLDER / "enter.py")]
    return [*enter, *flags, "--", *program]


def watchdog_s(spec: SegmentSpec) -> float | None:
    """Return how long a body with `alive: notify` may be silent, or None without one."""
    alive = spec.health.alive
    if alive is None or alive.how != "notify":
        return None
    return alive.period_s * alive.failures


def _watchdog(spec: SegmentSpec) -> dict[str, str]:
    limit_s = watchdog_s(spec)
    return {} if limit_s is None else {"WATCHDOG_USEC": str(round(limit_s * 1e6))}


def _ports(order: StartOrder) -> dict[str, str]:
    ports = {}
    for name, number in order.service_ports.items():
        segment, _, port = name.partition("/")
        ports[_variable("PSUP_PORT", segment, port)] = str(number)
    segment = order.path.rsplit("/", 1)[-1]
    for name, number in order.spec.body.ports.items():
        ports[_variable("PSUP_PORT", segment, name)] = str(number)
        ports[_variable("PSUP_PORT", name)] = str(number)
    return ports


def _variable(*parts: str) -> str:
    return "_".join(parts).upper().replace("-", "_")


def _for_cpu_quota(cores: float | None) -> dict[str, str]:
    """Numeric libraries count the machine's cores; more threads than quota only wait in line."""
    if cores is None:
        return {}
    return dict.fromkeys(THREAD_COUNTS, str(max(1, math.ceil(cores))))
