"""Start orders survive the trip through JSON."""

from __future__ import annotations

import json
from pathlib import Path

from supervisor.cell import order_from_json, order_to_json
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import Body, Health, Kind, Probe, Quota, SegmentSpec
from supervisor.runtime.ports import StartOrder


def test_an_order_is_the_same_on_the_other_side(tmp_path: Path) -> None:
    """Nothing is lost, environment values included: the body needs them."""
    spec = SegmentSpec(
        "serve",
        kind=Kind.SERVICE,
        quota=Quota(memory_bytes=1, cpu_cores=0.5),
        health=Health(ready=Probe("http", target="/healthz")),
        body=Body(run="m:f", env={"SECRET": "s"}, params={"a": [1, 2]}, ports={"http": 80}),
    )
    order = StartOrder(
        path="p/serve",
        incarnation=4,
        spec=spec,
        attempt=2,
        last_exit=ExitReason(ExitKind.ERROR, "ValueError: x"),
        environment={"PATH": "/bin"},
        scratch=str(tmp_path),
        checkpoint=str(tmp_path),
        log=str(tmp_path / "log"),
        service_ports={"train/metrics": 9},
    )
    back = order_from_json(json.loads(json.dumps(order_to_json(order))))
    assert back == order
    assert back.spec.body.env == {"SECRET": "s"}
    assert back.environment == {"PATH": "/bin"}
