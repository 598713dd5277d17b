"""Is serving as good as it was? `monitor` asks it about held-out digits, once a second.

Each ask becomes one line of `monitoring/answers.jsonl`: when, how fast, how accurate, which model;
or what went wrong. A server that is down is news to write, never a reason to die. The file is
bounded: when it is full it becomes `answers.jsonl.1`, and the one before that goes.
"""

from __future__ import annotations

import http.client
import json
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segments.dataset import Features, read_features
from supervisor.body import Context

DIGITS_PER_ASK = 10
REMEMBERED_ASKS = 60
PATIENCE_S = 2.0
MOST_FILE_BYTES = 1024**2

Answer = Mapping[str, Any]


def monitor(ctx: Context) -> None:
    """Ask until a stop is asked for. Parameter: `every_s`, seconds between two asks."""
    every_s = float(ctx.params.get("every_s", 1.0))
    port = ctx.port_of("serve", "http")
    data = read_features(ctx.data)
    record = Record(ctx.data / "monitoring" / "answers.jsonl")
    chance = np.random.default_rng(ctx.incarnation)
    recent: deque[Answer] = deque(maxlen=REMEMBERED_ASKS)
    next_ask_s = time.monotonic()
    while not ctx.stopping.wait(max(0.0, next_ask_s - time.monotonic())):
        next_ask_s = max(next_ask_s + every_s, time.monotonic())
        answer = ask(port, data, chance)
        record.append(answer)
        recent.append(answer)
        ctx.heartbeat()
        ctx.status(summary(recent))


def ask(port: int, data: Features, chance: np.random.Generator) -> Answer:
    """Ask for some held-out digits and judge the answer.

    Returns:
        `at` (seconds since 1970), `ok`, and then `latency_ms`, `accuracy`, `model`, or `error`.
    """
    drawn = chance.choice(len(data.held_out_labels), DIGITS_PER_ASK, replace=False)
    body = json.dumps({"images": data.held_out_images[drawn].tolist()})
    at = round(time.time(), 3)
    started_s = time.perf_counter()
    try:
        answer = _predict(port, body)
        right = _judge(answer["digits"], data.held_out_labels[drawn])
        model = answer["model"]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        return {"at": at, "ok": False, "error": f"{type(error).__name__}: {error}"}
    latency_ms = (time.perf_counter() - started_s) * 1000
    return {
        "at": at,
        "ok": True,
        "latency_ms": round(latency_ms, 2),
        "accuracy": round(float(right.mean()), 3),
        "model": model,
    }


def summary(recent: deque[Answer]) -> str:
    """Say in one line how serving has done lately."""
    answered = [answer for answer in recent if answer["ok"]]
    if not answered:
        return f"no answer to the last {len(recent)} asks: {recent[-1]['error']}"
    accuracy = np.mean([answer["accuracy"] for answer in answered])
    latency_ms = np.median([answer["latency_ms"] for answer in answered])
    return (
        f"{len(answered)} of {len(recent)} answered, "
        f"accuracy {accuracy:.1%}, median {latency_ms:.0f} ms"
    )


class Record:
    """A file of JSON lines that never grows beyond twice its limit.

    Args:
        path: the file; its folder is made.
        most_bytes: size at which the file is put aside.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_FILE_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._most_bytes = most_bytes

    def append(self, answer: Answer) -> None:
        """Add one line, in one write, so that a reader never sees half of it."""
        line = json.dumps(answer).encode() + b"\n"
        if self._size() + len(line) > self._most_bytes:
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        with self._path.open("ab", buffering=0) as file:
            file.write(line)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def _judge(digits: Any, labels: np.ndarray) -> np.ndarray:
    named = np.asarray(digits)
    if named.shape != labels.shape:
        raise ValueError(f"asked about {labels.shape} digits, the answer has {named.shape}")
    right: np.ndarray = named == labels
    return right


def _predict(port: int, body: str) -> Any:
    # http.client, unlike urllib, never sends a question for 127.0.0.1 through a proxy.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise http.client.HTTPException(f"status {response.status}: {content[:200]!r}")
    return json.loads(content)
