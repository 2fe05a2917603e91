"""The client against a scripted server: what is retried, how calls share connections, and what errors say."""

import base64
import concurrent.futures
import contextlib
import dataclasses
import http.server
import json
import signal
import socket
import threading
import time

import pytest

from features import names, schema_file
from features.raw_requests import RawRequest
from serving.client import PROTOCOLS, ClientOptions, ScoringClient, ScoringError, _InOrder
from serving.patience import Patience

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
FAST = Patience(backoff_seconds=0.001, longest_seconds=0.002, attempts=3, outage_seconds=30.0)


def request(*sample_ids):
    count = len(sample_ids)
    context = {"user": [2**53 + 1], "words": ["é"], "words/weight": [0.5]}
    tags = [["a", "b"]] + [[]] * (count - 1)
    weights = [[1.0, 2.0]] + [[]] * (count - 1)
    prices = [[1.5]] + [[]] * (count - 1)
    items = [[sample_id] for sample_id in sample_ids]
    return RawRequest(list(sample_ids), context, {"item": items, "tags": tags, "tags/weight": weights, "price": prices})


def columns(*items):
    return {"outputs": {name: [item % 10 / 10 for item in items] for name in names.SCORES}}


def score_items(call):
    return 200, columns(*(row[0] for row in call["inputs"]["item"]))


class ScriptedServer(http.server.ThreadingHTTPServer):
    """Answers the n-th call by the n-th entry of a script, the rest by the last."""

    daemon_threads = True

    def __init__(self, *script, host="127.0.0.1"):
        super().__init__((host, 0), _Handler)
        self.script = script
        self.calls, self.paths, self.headers, self.clients = [], [], [], set()
        # Numbers of the versions that are AVAILABLE; None: as a server without the status API.
        self.versions = None
        self.lock = threading.Lock()
        self.under_way = self.most_under_way = 0

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def client(self, patience=FAST, **options):
        options = ClientOptions(patience=patience, **options)
        return ScoringClient(f"http://127.0.0.1:{self.server_port}", "my model", SCHEMA, options)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        states = [{"version": str(number), "state": "AVAILABLE"} for number in self.server.versions or ()]
        body = json.dumps({"model_version_status": states}).encode()
        self.send_response(404 if self.server.versions is None else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        server = self.server
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            step = server.script[min(len(server.calls), len(server.script) - 1)]
            server.calls.append(call)
            server.paths.append(self.path)
            server.headers.append(self.headers)
            server.clients.add(self.client_address)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        status, answer, *headers = step(call) if callable(step) else step
        with server.lock:
            server.under_way -= 1
        if status is None:
            self.close_connection = True
            return
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for header in headers:
            self.send_header(*header)
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


@pytest.mark.parametrize("failure", [(503, {"error": "busy"}), (429, b""), (None, b""), (504, b"<html>"), (408, b"")])
def test_a_server_that_is_away_or_busy_is_tried_again_for_the_time_of_an_outage(failure):
    with ScriptedServer(*[failure] * 12, score_items) as server:
        assert server.client().score(request(1))["pctr"] == [0.1]
        assert len(server.calls) == 13


@pytest.mark.parametrize("failure", [(500, {"error": "x"}), (501, b"")])
def test_a_failure_that_may_be_the_calls_own_is_tried_a_few_times(failure):
    with ScriptedServer(failure, failure, score_items) as server:
        assert server.client().score(request(1))["pctr"] == [0.1]
    with ScriptedServer(failure) as server, pytest.raises(ScoringError, match="no scores in 3 attempts"):
        server.client().score(request(1))
    assert len(server.calls) == 3


def test_an_outage_ends_with_the_last_failure():
    patience = dataclasses.replace(FAST, outage_seconds=0.3)
    with ScriptedServer((503, {"error": "busy"})) as server, pytest.raises(ScoringError) as raised:
        server.client(patience).score(request(8, 9))
    assert len(server.calls) > 3
    assert "sample_id 8 and 1 more" in str(raised.value) and "--max_outage_seconds" in str(raised.value)
    assert "status 503: busy" in str(raised.value)


def test_the_wait_that_a_server_asks_for_is_kept():
    with ScriptedServer((503, b"", ("Retry-After", "1")), score_items) as server:
        start = time.monotonic()
        server.client().score(request(1))
        assert time.monotonic() - start >= 1
    with ScriptedServer((429, b"", ("Retry-After", "3600"))) as server:
        start = time.monotonic()
        with pytest.raises(ScoringError, match="status 429"):
            server.client().score(request(1))
        assert time.monotonic() - start < 20  # longer than an outage may be: said at once
        assert len(server.calls) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
def test_a_refused_call_is_not_tried_again(status):
    with ScriptedServer((status, {"error": "JSON Value: x"})) as server, pytest.raises(ScoringError) as raised:
        server.client().score(request(8))
    assert len(server.calls) == 1
    assert "sample_id 8:" in str(raised.value) and f"status {status}: JSON Value: x" in str(raised.value)
    assert "/v1/models/my%20model:predict" in str(raised.value)


def test_timeout_is_tried_again_on_a_new_connection():
    def slow(call):
        time.sleep(0.5)
        return 200, columns(99)

    with ScriptedServer(slow, score_items) as server:
        assert server.client(timeout_seconds=0.2).score(request(1))["pctr"] == [0.1]
        assert len(server.clients) == 2


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"HTTP/1.1 2"])
def test_an_answer_that_comes_byte_by_byte_ends_with_the_timeout(head):
    """Each byte is in time for itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def trickle():
            connection, _ = listener.accept()
            connection.recv(1 << 16)
            with contextlib.suppress(OSError):
                connection.sendall(head)
                for _ in range(1000):
                    connection.sendall(b"0")
                    time.sleep(0.05)

        threading.Thread(target=trickle, daemon=True).start()
        options = ClientOptions(timeout_seconds=0.4, patience=Patience(outage_seconds=0.0), version=1)
        client = ScoringClient(f"http://127.0.0.1:{listener.getsockname()[1]}", "m", SCHEMA, options)
        start = time.monotonic()
        with pytest.raises(ScoringError, match="max_outage_seconds"):
            client.score(request(1))
        assert time.monotonic() - start < 25


def test_absent_server_is_named():
    with ScriptedServer(score_items) as server:
        client = server.client(dataclasses.replace(FAST, outage_seconds=0.0))
    with pytest.raises(ScoringError, match=r"refused"):
        client.score(request(1))


def spoilt(name, value):
    answer = columns(1, 2)
    answer["outputs"][name][1] = value
    return json.dumps(answer).encode()


@pytest.mark.parametrize(
    "answer",
    [
        *(b"{}", b"[]", b"no JSON", b'{"outputs": [1]}', json.dumps(columns(1)).encode(), b'{"outputs": null}'),
        *(spoilt("pcvr", value) for value in (None, "0.5", [0.5], float("nan"), float("inf"), -1e-9, 1.5, True, {})),
        b'{"outputs": {"pctr": "ab", "pcvr": [0.1, 0.2], "pctcvr": [0.1, 0.2]}}',
    ],
)
def test_an_answer_that_is_no_scores_is_an_error_of_its_request(answer):
    with ScriptedServer((200, answer)) as server, pytest.raises(ScoringError, match="sample_id 1 and 1 more"):
        server.client().score(request(1, 2))


def test_backoff_doubles_up_to_a_limit():
    patience = Patience(backoff_seconds=0.1, longest_seconds=0.5)
    for tried, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (9, 0.5), (2000, 0.5)):
        waits = {patience.wait(tried) for _ in range(50)}
        assert longest / 2 <= min(waits) < max(waits) <= longest


# Versions.


def test_each_answer_has_the_version_that_gave_it():
    """The newest is asked for once and called by its number, until it is gone."""
    gone = (404, {"error": "Servable not found for request: Specific(my model, 7)"})
    with ScriptedServer(score_items, score_items, gone, score_items) as server:
        server.versions = [3, 7]
        scored = server.client(concurrency=1).score_all(request(number) for number in range(3))
        found = [next(scored).version]
        server.versions = [8]
        found += [one.version for one in scored]
    assert found[0] == 7 and found[-1] == 8 and found == sorted(found)
    assert server.paths[0] == "/v1/models/my%20model/versions/7:predict"
    assert server.paths[-1] == "/v1/models/my%20model/versions/8:predict"


def test_a_version_that_was_asked_for_is_never_changed():
    with ScriptedServer((404, {"error": "gone"})) as server, pytest.raises(ScoringError, match="status 404"):
        server.versions = [8]
        server.client(version=7).score(request(1))
    assert server.paths == ["/v1/models/my%20model/versions/7:predict"]


def test_a_server_that_does_not_tell_its_versions_is_called_without():
    with ScriptedServer(score_items) as server:
        (scored,) = server.client().score_all([request(1)])
    assert scored.version is None and server.paths == ["/v1/models/my%20model:predict"]


# Many requests.


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
            assert scored.request.sample_ids == [number] and scored.scores["pctr"] == [number % 10 / 10]
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


def test_a_refused_call_ends_others_that_wait_for_a_server(tmp_path):
    first_came = threading.Event()

    def answer(call):
        number = call["inputs"]["item"][0][0]
        if number == 2:
            first_came.wait(60)
            return 400, {"error": "bad"}
        return (503, b"") if number == 1 else score_items(call)

    with ScriptedServer(answer) as server:
        scored = server.client(Patience(outage_seconds=600), concurrency=3).score_all(map(request, range(3)))
        start = time.monotonic()
        assert next(scored).request.sample_ids == [0]
        first_came.set()
        with pytest.raises(ScoringError, match=r"sample_id 2: .*status 400: bad"):
            list(scored)
    assert time.monotonic() - start < 20


# Addresses.


@pytest.mark.parametrize(
    "url",
    ["localhost:8501", "ftp://h", "http://", "", "http://h:99999", "http://h:x", "http://[::1", "http://h/?a", "h"],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_url_must_be_one(url, protocol):
    if protocol == "grpc" and url in ("localhost:8501", "h"):
        return
    with pytest.raises(ValueError, match="server"):
        ScoringClient(url, "m", SCHEMA, ClientOptions(protocol=protocol))


def test_user_and_password_are_sent_and_never_told():
    with ScriptedServer(score_items, (400, b"no")) as server:
        url = f"http://us%40er:se:cret@127.0.0.1:{server.server_port}/behind/a/proxy/"
        client = ScoringClient(url, "m", SCHEMA)
        client.score(request(1))
        assert server.headers[0]["Authorization"] == "Basic " + base64.b64encode(b"us@er:se:cret").decode()
        assert server.paths == ["/behind/a/proxy/v1/models/m:predict"]
        with pytest.raises(ScoringError) as raised:
            client.score(request(1))
    assert "cret" not in str(raised.value) and "us@er" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://u:secret@h/?a", "ftp://u:secret@h", "http://u:secret@h:x", "http://u:secret@"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_password_is_not_told_of_a_url_that_is_none(url, protocol):
    with pytest.raises(ValueError, match="server") as raised:
        ScoringClient(url, "m", SCHEMA, ClientOptions(protocol=protocol))
    assert "secret" not in str(raised.value)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_address_of_ipv6():
    class Six(ScriptedServer):
        address_family = socket.AF_INET6

        def __init__(self, *script):
            super().__init__(*script, host="::1")

    try:
        server = Six(score_items)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with server:
        scores = ScoringClient(f"http://[::1]:{server.server_port}", "m", SCHEMA).score(request(1))
    assert scores["pctr"] == [0.1]


@pytest.mark.parametrize("options", [{"signature": "nope"}, {"signature": "nope", "protocol": "grpc"}])
def test_signature_must_be_one(options):
    with pytest.raises(ValueError, match="'nope': allowed are serving_default, examples, classification"):
        ScoringClient("http://h" if len(options) == 1 else "h", "m", SCHEMA, ClientOptions(**options))


def test_protocol_must_be_one():
    with pytest.raises(ValueError, match="'smtp': allowed are rest, grpc"):
        ScoringClient("http://h", "m", SCHEMA, ClientOptions(protocol="smtp"))


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="not on this platform")
def test_answers_are_acknowledged_at_once(monkeypatch):
    """The option counts for a while only, so it is set for each answer."""
    found = []
    plain = socket.socket.setsockopt

    def setsockopt(sock, level, option, value):
        found.append((level, option, value))
        plain(sock, level, option, value)

    monkeypatch.setattr(socket.socket, "setsockopt", setsockopt)
    with ScriptedServer(score_items) as server:
        client = server.client(version=1)
        for _ in range(3):
            client.score(request(1))
    assert found.count((socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)) == 3


def test_a_signal_that_does_not_wake_the_wait_is_seen_all_the_same():
    """As one that comes just before the wait: here another thread takes it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    call, calls = concurrent.futures.Future(), _InOrder()
    calls.add(call)
    send = threading.Timer(0.5, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    give_up = threading.Timer(30, call.set_result, [None])
    for timer in (send, give_up):
        timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(calls.first())
        assert not call.done()
    finally:
        give_up.cancel()
        signal.signal(signal.SIGINT, before)
