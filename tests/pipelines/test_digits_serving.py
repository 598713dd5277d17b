"""Serving over real HTTP: the newest good model, refusals that help, and a graceful end."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from segments.dataset import read_features
from segments.model import Model, models_in
from segments.monitoring import Record, ask, monitor, summary
from segments.serving import serve

Contexts = Callable[..., Any]


@pytest.fixture
def serving(context: Contexts, free_port: int) -> Iterator[Any]:
    """The context of a `serve` that listens; it is stopped afterwards."""
    ctx = context(ports={"http": free_port})
    thread = threading.Thread(target=serve, args=(ctx,))
    thread.start()
    assert ctx.listening.wait(10), "serve does not listen"
    ctx.thread = thread
    yield ctx
    ctx.stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def request(
    ctx: Any, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", ctx.port(), timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def predict(ctx: Any, images: Any) -> tuple[int, Any]:
    return request(ctx, "POST", "/predict", json.dumps({"images": images}).encode())


def test_answers_are_the_models_and_name_it(serving: Any, data: Path) -> None:
    """Held-out digits get what the newest model says, with its version and digest."""
    split = read_features(data)
    newest = models_in(data).require_newest()
    status, answer = predict(serving, split.held_out_images[:20].tolist())
    expected = Model.from_arrays(newest.load()).predict(split.held_out_images[:20])
    assert (status, answer["digits"]) == (200, expected.tolist())
    assert answer["model"] == {"version": 1, "digest": newest.digest, "made_by": "baseline"}


def test_healthz_says_which_model_would_answer(serving: Any) -> None:
    """200 as soon as a model is loaded."""
    status, answer = request(serving, "GET", "/healthz")
    assert (status, answer["status"], answer["model"]["version"]) == (200, "ok", 1)


def test_a_newer_model_answers_without_a_restart(serving: Any, data: Path) -> None:
    """The next request after the pointer moved is answered by the new model."""
    shelf = models_in(data)
    arrays = shelf.require_newest().load()
    always_three = {
        "weights_0": np.zeros_like(arrays["weights_0"]),
        "bias_0": np.eye(10, dtype=np.float32)[3],
    }
    shelf.publish(always_three, {"made_by": "train"})
    status, answer = predict(serving, [[0] * 64, [16] * 64])
    assert (status, answer["digits"]) == (200, [3, 3])
    assert (answer["model"]["version"], answer["model"]["made_by"]) == (2, "train")
    assert [text[-5:] for text in serving.statuses] == ["v0001", "v0002"]


def test_the_model_before_answers_while_the_newest_cannot_be_read(serving: Any, data: Path) -> None:
    """A damaged model is a line in the log, not an outage."""
    shelf = models_in(data)
    edition = shelf.publish({"weights_0": np.ones((80, 10))}, {"made_by": "train"})
    (edition.folder / "arrays.npz").write_bytes(b"damaged")
    status, answer = predict(serving, [[0] * 64])
    assert (status, answer["model"]["version"]) == (200, 1)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "body of 1 to"),
        (b"no json", "expected JSON"),
        (b"[1]", "expected JSON"),
        (b'{"pictures": []}', "expected JSON"),
        (b'{"images": "x"}', "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"images": []}', "64 numbers"),
        (b'{"images": [[1, 2, 3]]}', "64 numbers"),
        (json.dumps({"images": [[0] * 64, [1]]}).encode(), "expected JSON"),
        (json.dumps({"images": [[0] * 63 + [17]]}).encode(), "ink 0..16"),
        (json.dumps({"images": [[float("nan")] * 64]}).encode(), "ink 0..16"),
        (json.dumps({"images": [[0] * 64] * 1001}).encode(), "1 to 1000 images"),
    ],
)
def test_a_request_that_makes_no_sense_is_told_what_to_change(
    serving: Any, body: bytes, told: str
) -> None:
    """400 and a sentence; the service goes on."""
    status, answer = request(serving, "POST", "/predict", body)
    assert status == 400
    assert told in answer["error"]
    assert request(serving, "GET", "/healthz")[0] == 200


@pytest.mark.parametrize("length", [str(2 * 1024**2 + 1), "-1", "many"])
def test_a_request_of_absurd_length_is_refused_before_it_is_read(serving: Any, length: str) -> None:
    """The header alone decides; nobody can make the service hold more than it wants to."""
    status, answer = request(serving, "POST", "/predict", b"", **{"Content-Length": length})
    assert status == 400
    assert "Content-Length" in answer["error"] or "body of 1 to" in answer["error"]


def test_unknown_pages_are_not_found(serving: Any) -> None:
    """With a hint at what there is."""
    assert request(serving, "GET", "/")[0] == 404
    status, answer = request(serving, "POST", "/healthz", b"{}")
    assert (status, answer) == (404, {"error": "try POST /predict"})


def test_a_request_that_has_arrived_is_answered_after_the_stop(serving: Any) -> None:
    """Half a request is in when the stop comes; the other half still gets its answer."""
    body = json.dumps({"images": [[0] * 64]}).encode()
    with socket.create_connection(("127.0.0.1", serving.port()), timeout=10) as client:
        client.sendall(b"POST /predict HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body))
        # Another request, answered later than ours arrived, proves that ours is being served.
        assert request(serving, "GET", "/healthz")[0] == 200
        serving.stopping.set()
        serving.thread.join(0.3)
        assert serving.thread.is_alive(), "serve left while a request was being answered"
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.0 200")
    assert b'"digits"' in answer
    serving.thread.join(10)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", serving.port()), timeout=10)


def test_many_clients_at_once_are_all_answered(serving: Any) -> None:
    """More than are answered at the same time: the others wait their turn."""
    statuses: deque[int] = deque()

    def client() -> None:
        statuses.extend(predict(serving, [[0] * 64])[0] for _ in range(3))

    clients = [threading.Thread(target=client) for _ in range(40)]
    for one in clients:
        one.start()
    for one in clients:
        one.join(60)
    assert list(statuses) == [200] * 120


def test_serving_needs_numpy_alone(run_python: Callable[..., str]) -> None:
    """Importing scikit-learn or YAML would cost more than all the rest of the start."""
    code = (
        "import sys, segments.serving as _;"
        "print(sorted({'sklearn', 'scipy', 'yaml', 'ray', 'click'} & set(sys.modules)))"
    )
    assert run_python(code) == "[]\n"


def test_monitor_records_accuracy_and_latency(serving: Any, context: Contexts, data: Path) -> None:
    """One line per ask, with the model that answered, and a summary as status."""
    ctx = context(ports={"http": serving.port()}, every_s=0.001)
    ctx.on_status = lambda _text: ctx.stopping.set() if len(ctx.statuses) == 5 else None
    monitor(ctx)
    lines = (data / "monitoring" / "answers.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    assert len(answers) == 5
    assert {(one["ok"], one["model"]["version"]) for one in answers} == {(True, 1)}
    assert all(0.3 < one["accuracy"] <= 1 and one["latency_ms"] > 0 for one in answers)
    assert ctx.statuses[-1].startswith("5 of 5 answered, accuracy ")
    assert ctx.heartbeats == 5


def test_monitor_outlives_a_server_that_is_down(
    context: Contexts, data: Path, free_port: int
) -> None:
    """Each refusal is a line with its cause."""
    ctx = context(ports={"http": free_port}, every_s=0.001)
    ctx.on_status = lambda _text: ctx.stopping.set() if len(ctx.statuses) == 3 else None
    monitor(ctx)
    lines = (data / "monitoring" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line)["ok"] for line in lines] == [False] * 3
    assert "ConnectionRefusedError" in json.loads(lines[0])["error"]
    assert ctx.statuses[-1].startswith("no answer to the last 3 asks: ConnectionRefusedError")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.0 500 Oh\r\n\r\nbroken",
        b"HTTP/1.0 200 OK\r\n\r\nnot json",
        b'HTTP/1.0 200 OK\r\n\r\n{"digits": [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]}',
        b'HTTP/1.0 200 OK\r\n\r\n{"digits": [1], "model": {}}',
        b"HTTP/1.0 200 OK\r\n\r\n[]",
        b'HTTP/1.0 200 OK\r\n\r\n{"digits": [1, 2], "model": {}}',
    ],
)
def test_an_answer_that_makes_no_sense_is_recorded_as_a_failure(
    prepared: Path, reply: bytes
) -> None:
    """Whatever a server says, `ask` returns."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(reply)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # an early close would be an error of its own kind
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        chance = np.random.default_rng(0)
        found = ask(server.getsockname()[1], read_features(prepared), chance)
        thread.join(10)
    assert found["ok"] is False
    assert found["error"]


def test_the_record_never_grows_beyond_twice_its_limit(tmp_path: Path) -> None:
    """The newest lines are always there, whole."""
    record = Record(tmp_path / "answers.jsonl", most_bytes=1000)
    for number in range(500):
        record.append({"number": number})
    sizes = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert set(sizes) == {"answers.jsonl", "answers.jsonl.1"}
    assert max(sizes.values()) <= 1000
    lines = [
        json.loads(line)["number"]
        for name in ("answers.jsonl.1", "answers.jsonl")
        for line in (tmp_path / name).read_text().splitlines()
    ]
    assert lines == list(range(lines[0], 500))


def test_the_summary_counts_failures_and_averages_the_rest() -> None:
    """Accuracy and latency are those of the asks that were answered."""
    good = {"ok": True, "accuracy": 0.9, "latency_ms": 4.0}
    better = {"ok": True, "accuracy": 1.0, "latency_ms": 2.0}
    recent = deque([good, {"ok": False, "error": "gone"}, better])
    assert summary(recent) == "2 of 3 answered, accuracy 95.0%, median 3 ms"
