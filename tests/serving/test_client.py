"""The client against a scripted server: what is retried, how calls share connections, and what errors say."""

import http.server
import json
import threading
import time

import pytest

from features import names, schema_file
from features.raw_requests import RawRequest
from serving.client import ClientOptions, ScoringClient, ScoringError

SCHEMA = schema_file.parse(
    """
columns: {click: click, conversion: conversion}
fields:
  - {name: user, group: user, side: context, kind: one, type: id}
  - {name: words, group: user, side: context, kind: many, type: string, weighted: true}
  - {name: item, group: item, side: impression, kind: one, type: id}
  - {name: tags, group: item, side: impression, kind: many, type: string, weighted: true}
  - {name: price, group: item, side: impression, kind: one, type: number, boundaries: [1.0]}
""",
    "test.yaml",
)
FAST = {"backoff_seconds": 0.001, "max_backoff_seconds": 0.002}


def request(*sample_ids):
    count = len(sample_ids)
    context = {"user": [2**53 + 1], "words": ["é"], "words/weight": [0.5]}
    tags = [["a", "b"]] + [[]] * (count - 1)
    weights = [[1.0, 2.0]] + [[]] * (count - 1)
    prices = [[1.5]] + [[]] * (count - 1)
    items = [[sample_id] for sample_id in sample_ids]
    return RawRequest(list(sample_ids), context, {"item": items, "tags": tags, "tags/weight": weights, "price": prices})


def columns(*items):
    return {"outputs": {name: [item / 10 for item in items] for name in names.SCORES}}


def score_items(call):
    return 200, columns(*(row[0] for row in call["inputs"]["item"]))


class ScriptedServer(http.server.ThreadingHTTPServer):
    """Answers the n-th call by the n-th entry of a script, the rest by the last."""

    daemon_threads = True

    def __init__(self, *script):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.calls, self.paths, self.clients = [], [], set()
        self.lock = threading.Lock()
        self.under_way = self.most_under_way = 0

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def client(self, **options):
        options = ClientOptions(**{**FAST, **options})
        return ScoringClient(f"http://127.0.0.1:{self.server_port}", "my model", SCHEMA, options)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            step = server.script[min(len(server.calls), len(server.script) - 1)]
            server.calls.append(call)
            server.paths.append(self.path)
            server.clients.add(self.client_address)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        status, answer = step(call) if callable(step) else step
        with server.lock:
            server.under_way -= 1
        if status is None:
            self.close_connection = True
            return
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_columnar_call_carries_every_input_padded():
    with ScriptedServer(score_items) as server:
        scores = server.client(version=7).score(request(1, 2))
    assert scores == {name: [0.1, 0.2] for name in names.SCORES}
    assert server.paths == ["/v1/models/my%20model/versions/7:predict"]
    inputs = server.calls[0]["inputs"]
    price = inputs.pop("price")
    assert price[0] == [1.5] and price[1][0] != price[1][0]  # NaN, as a bare word
    assert inputs == {
        "user": [2**53 + 1],
        "words": ["é"],
        "words/weight": [0.5],
        "item": [[1], [2]],
        "tags": [["a", "b"], ["", ""]],
        "tags/weight": [[1.0, 2.0], [0.0, 0.0]],
    }


def test_classify_call_leaves_out_what_is_missing():
    classes = [[["ctr", 0.1], ["cvr", 0.2], ["ctcvr", 0.3]], [["ctr", 0.4], ["cvr", 0.5], ["ctcvr", 0.6]]]
    with ScriptedServer((200, {"results": classes})) as server:
        scores = server.client(signature="classification").score(request(1, 2))
    assert scores == {"pctr": [0.1, 0.4], "pcvr": [0.2, 0.5], "pctcvr": [0.3, 0.6]}
    assert server.paths == ["/v1/models/my%20model:classify"]
    assert server.calls[0] == {
        "signature_name": "classification",
        "context": {"user": [2**53 + 1], "words": ["é"], "words/weight": [0.5]},
        "examples": [{"item": [1], "tags": ["a", "b"], "tags/weight": [1.0, 2.0], "price": [1.5]}, {"item": [2]}],
    }


@pytest.mark.parametrize(
    "failure", [(500, {"error": "x"}), (503, {"error": "busy"}), (429, b""), (None, b""), (504, b"<html>")]
)
def test_failures_that_may_pass_are_tried_again(failure):
    with ScriptedServer(failure, failure, score_items) as server:
        assert server.client(attempts=3).score(request(1))["pctr"] == [0.1]
        assert len(server.calls) == 3


def test_attempts_end_with_the_last_failure():
    with ScriptedServer((503, {"error": "busy"})) as server, pytest.raises(ScoringError) as raised:
        server.client(attempts=4).score(request(8, 9))
    assert len(server.calls) == 4
    assert "sample_id 8 and 1 more" in str(raised.value) and "4 attempts" in str(raised.value)
    assert "status 503: busy" in str(raised.value)


def test_refused_call_is_not_tried_again():
    with ScriptedServer((400, {"error": "JSON Value: x"})) as server, pytest.raises(ScoringError) as raised:
        server.client().score(request(8))
    assert len(server.calls) == 1
    assert "sample_id 8:" in str(raised.value) and "status 400: JSON Value: x" in str(raised.value)
    assert "/v1/models/my%20model:predict" in str(raised.value)


def test_timeout_is_tried_again_on_a_new_connection():
    def slow(call):
        time.sleep(0.5)
        return 200, columns(99)

    with ScriptedServer(slow, score_items) as server:
        assert server.client(timeout_seconds=0.2).score(request(1))["pctr"] == [0.1]
        assert len(server.clients) == 2


def test_absent_server_is_named():
    with ScriptedServer(score_items) as server:
        client = server.client(attempts=2)
    with pytest.raises(ScoringError, match=r"ConnectionRefusedError"):
        client.score(request(1))


@pytest.mark.parametrize(
    "answer", [b"{}", b"[]", b"no JSON", b'{"outputs": [1]}', json.dumps(columns(1)).encode(), b'{"outputs": null}']
)
def test_answer_without_scores_is_an_error(answer):
    with ScriptedServer((200, answer)) as server, pytest.raises(ScoringError, match="sample_id 1 and 1 more"):
        server.client().score(request(1, 2))


def test_backoff_doubles_up_to_a_limit():
    client = ScoringClient("http://h", "m", SCHEMA, ClientOptions(backoff_seconds=0.1, max_backoff_seconds=0.5))
    for attempt, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (9, 0.5)):
        waits = {client._backoff(attempt) for _ in range(50)}
        assert longest / 2 <= min(waits) < max(waits) <= longest


def test_many_requests_keep_order_connections_and_bounds():
    def uneven(call):
        time.sleep(0.02 if call["inputs"]["item"][0][0] % 3 == 0 else 0.001)
        return score_items(call)

    taken = []

    def requests():
        for number in range(60):
            taken.append(number)
            yield request(number)

    with ScriptedServer(uneven) as server:
        for number, scored in enumerate(server.client(concurrency=3).score_all(requests())):
            assert scored.request.sample_ids == [number] and scored.scores["pctr"] == [number / 10]
            assert len(taken) <= number + 8  # reads ahead by twice the concurrency, not more
    assert len(server.calls) == 60
    assert server.most_under_way == len(server.clients) == 3


def test_first_failure_ends_a_run_and_stops_the_rest():
    with ScriptedServer(score_items, (400, {"error": "bad"}), score_items) as server:
        scored = server.client(concurrency=1).score_all(request(number) for number in range(1000))
        assert next(scored).request.sample_ids == [0]
        with pytest.raises(ScoringError, match="sample_id 1: "):
            list(scored)
        assert len(server.calls) < 10


@pytest.mark.parametrize("url", ["localhost:8501", "ftp://h", "http://", ""])
def test_url_must_be_one(url):
    with pytest.raises(ValueError, match="server"):
        ScoringClient(url, "m", SCHEMA)


def test_signature_must_be_one():
    with pytest.raises(ValueError, match="'nope': allowed are serving_default, examples, classification"):
        ScoringClient("http://h", "m", SCHEMA, ClientOptions(signature="nope"))
