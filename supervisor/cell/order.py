"""Start orders as JSON, so that they can travel to a cell in another process or on another node.

Environment values travel with them: an order is never stored and never logged.
"""

from __future__ import annotations

from typing import Any

from supervisor.core.codec import decode_spec, encode_spec
from supervisor.core.events import ExitKind, ExitReason
from supervisor.core.spec import SegmentSpec
from supervisor.runtime.ports import Json, StartOrder


def order_to_json(order: StartOrder) -> dict[str, Any]:
    """Return the order as JSON values; `order_from_json` gives it back."""
    last = order.last_exit
    return {
        "path": order.path,
        "incarnation": order.incarnation,
        "spec": encode_spec(order.spec, secrets=True),
        "attempt": order.attempt,
        "last_exit": None if last is None else {"kind": last.kind.value, "detail": last.detail},
        "environment": dict(order.environment),
        "scratch": order.scratch,
        "checkpoint": order.checkpoint,
        "log": order.log,
        "service_ports": dict(order.service_ports),
    }


def order_from_json(values: Json) -> StartOrder:
    """Return the order that `order_to_json` wrote."""
    last = values["last_exit"]
    spec = decode_spec(values["spec"])
    assert isinstance(spec, SegmentSpec), "only segments are started"
    return StartOrder(
        path=values["path"],
        incarnation=values["incarnation"],
        spec=spec,
        attempt=values["attempt"],
        last_exit=None if last is None else ExitReason(ExitKind(last["kind"]), last["detail"]),
        environment=values["environment"],
        scratch=values["scratch"],
        checkpoint=values["checkpoint"],
        log=values["log"],
        service_ports=values["service_ports"],
    )
