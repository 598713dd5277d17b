"""The parcel: all that a daemon must know and that must never touch a disk.

The pipeline with the values of its environment variables, and the launching terminal's
environment, lie in a sealed memory file. The heart inherits its descriptor from `psup launch` and
hands it to every life of the daemon, so that a restarted daemon knows the secrets that the store
does not. Nobody can change a parcel once it is sealed. Read next: `heart.py`, `service.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from supervisor.core.codec import decode_spec, encode_spec
from supervisor.core.spec import SupervisorSpec

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(frozen=True, slots=True)
class Options:
    """What `psup launch` was told.

    Args:
        address: the Ray cluster to join; None means the embedded one.
        strict_quotas: refuse to launch when this node cannot hold a declared quota.
        foreground: no terminal is left behind; a pipeline that failed ends the daemon.
    """

    address: str | None = None
    strict_quotas: bool = False
    foreground: bool = False


@dataclass(frozen=True, slots=True)
class Parcel:
    """One launch of one pipeline.

    Args:
        launch: unique id of this launch; a daemon that finds it in the store resumes, else boots.
        home: absolute `$PSUP_HOME`.
        file: absolute path of the pipeline file; shown, never read again.
        spec: the pipeline, with the values of `env:`.
        environment: that of the launching terminal.
        launched_by: who launched, for a person to read.
    """

    launch: str
    home: str
    file: str
    spec: SupervisorSpec = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    launched_by: str = ""
    options: Options = Options()


def seal(parcel: Parcel) -> int:
    """Return the descriptor of a memory file that holds the parcel and can no longer be changed."""
    content = {
        "launch": parcel.launch,
        "home": parcel.home,
        "file": parcel.file,
        "spec": encode_spec(parcel.spec, secrets=True),
        "environment": dict(parcel.environment),
        "launched_by": parcel.launched_by,
        "options": asdict(parcel.options),
    }
    descriptor = os.memfd_create("psup-parcel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(descriptor, "wb", closefd=False) as memory:
        memory.write(json.dumps(content).encode())
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def unseal(descriptor: int) -> Parcel:
    """Read the parcel; the descriptor stays open for the next reader."""
    size = os.fstat(descriptor).st_size
    content: dict[str, Any] = json.loads(os.pread(descriptor, size, 0))
    spec = decode_spec(content.pop("spec"))
    if not isinstance(spec, SupervisorSpec):
        raise TypeError(f"a parcel holds a whole pipeline, not a {type(spec).__name__}")
    options = Options(**content.pop("options"))
    return Parcel(spec=spec, options=options, **content)
