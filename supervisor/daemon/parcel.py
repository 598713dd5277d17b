"""The parcel: all that a daemon must know and that must never touch a disk.

The pipeline with the values of its environment variables, and the launching terminal's
environment, lie in a memory file. The heart inherits its descriptor from `psup launch` and hands
it to every life of the daemon, so that a restarted daemon knows the secrets that the store does
not. It is sealed against being cut: a changed spec is only ever put behind those that are there,
and the store says which one holds. Read next: `heart.py`, `service.py`, `blueprints.py`.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from supervisor.core.codec import decode_spec, encode_spec
from supervisor.core.spec import SupervisorSpec

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK


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
        generation: how many changes of the spec came before this one.
        standing: the spec with the nodes that were leaving it; None at the launch.
    """

    launch: str
    home: str
    file: str
    spec: SupervisorSpec = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    launched_by: str = ""
    options: Options = Options()
    generation: int = 0
    standing: SupervisorSpec | None = field(default=None, repr=False)


def seal(parcel: Parcel) -> int:
    """Return the descriptor of a memory file that holds the parcel and cannot be cut."""
    descriptor = os.memfd_create("psup-parcel", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    _append(descriptor, _content(parcel))
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def add(
    descriptor: int,
    parcel: Parcel,
    declared: SupervisorSpec,
    standing: SupervisorSpec,
    generation: int,
) -> None:
    """Put a later generation of specs behind those that are there; a half written one counts not.

    Args:
        descriptor: of the parcel's memory file.
        parcel: gives everything but the specs.
        declared: what the tree shall be.
        standing: that, with the nodes that leave still in it.
        generation: its number, larger than all before.
    """
    content = _content(replace(parcel, spec=declared, generation=generation))
    _append(descriptor, {**content, "standing": encode_spec(standing, secrets=True)})


def _content(parcel: Parcel) -> dict[str, Any]:
    return {
        "launch": parcel.launch,
        "home": parcel.home,
        "file": parcel.file,
        "spec": encode_spec(parcel.spec, secrets=True),
        "environment": dict(parcel.environment),
        "launched_by": parcel.launched_by,
        "options": asdict(parcel.options),
        "generation": parcel.generation,
    }


def _append(descriptor: int, content: Mapping[str, Any]) -> None:
    """Write one record: its length on a line, then itself."""
    record = json.dumps(content).encode()
    record = b"%d\n%s" % (len(record), record)
    at = os.fstat(descriptor).st_size
    while record:
        written = os.pwrite(descriptor, record, at)
        record, at = record[written:], at + written


def _records(descriptor: int) -> Iterator[dict[str, Any]]:
    """Yield every record that was written to its end, oldest first."""
    data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    while data:
        head, _, rest = data.partition(b"\n")
        length = int(head) if head.isdigit() else len(data)
        if len(rest) < length:
            return
        yield json.loads(rest[:length])
        data = rest[length:]


def unseal(descriptor: int, generation: int = 0) -> Parcel:
    """Read the parcel; the descriptor stays open for the next reader.

    Args:
        descriptor: of its memory file.
        generation: which specs, as the store says; 0 for those of the launch.
    """
    content = next(one for one in _records(descriptor) if one["generation"] == generation)
    spec = decode_spec(content.pop("spec"))
    if not isinstance(spec, SupervisorSpec):
        raise TypeError(f"a parcel holds a whole pipeline, not a {type(spec).__name__}")
    standing = decode_spec(content.pop("standing")) if "standing" in content else None
    assert standing is None or isinstance(standing, SupervisorSpec)
    options = Options(**content.pop("options"))
    return Parcel(spec=spec, options=options, standing=standing, **content)
