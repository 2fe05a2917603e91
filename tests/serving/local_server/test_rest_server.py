"""The server in a process of its own: calls, bad calls, limits, reloads, stopping."""

import gzip
import json
import os
import shutil
import signal
import socket
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from local_server_examples import running_server, toy_scores, write_toy_model

PREDICT = "/v1/models/toy:predict"
GOOD = {"inputs": {"user": [3, 5], "user/weight": [0.5, 2.0], "item": [[4, -1], [7, 2], [1, -1]]}}
GOOD_SCORES = toy_scores([3, 5], [0.5, 2.0], [[4, -1], [7, 2], [1, -1]])
MAX_BYTES = 100_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    base = tmp_path_factory.mktemp("toy")
    write_toy_model(str(base / "1"))
    flags = (
        f"--model_base_path={base}",
        "--model_name=toy",
        f"--max_request_bytes={MAX_BYTES}",
        "--rest_api_num_threads=2",
        "--max_queued_calls=4",
        "--rest_api_timeout_in_ms=2000",
    )
    with running_server(*flags) as running:
        yield running


def check_good(server):
    status, answer = server.json("POST", PREDICT, GOOD)
    assert status == 200
    for name, scores in GOOD_SCORES.items():
        np.testing.assert_allclose(answer["outputs"][name], scores, atol=1e-6)


def check_error(answer, statuses):
    status, headers, body = answer
    assert status in statuses, body
    assert headers["Content-Type"] == "application/json"
    error = json.loads(body)["error"]
    assert error and "Traceback" not in error and 'File "' not in error
    return error


BAD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\x00\x01\x02",
    b"\xff\xfe{}",
    b"[" * 50_000,
    b'{"inputs": ' * 9_000,
    b'{"inputs": {"user": [1e999], "user/weight": [1], "item": [[1]]}}',
    b'{"inputs": {"user": [' + b"9" * 5000 + b'], "user/weight": [1], "item": [[1]]}}',
    b'{"inputs": {"user": [-9300000000000000000], "user/weight": [1], "item": [[1]]}}',
    b'{"inputs": {"user": ["\\ud800"], "user/weight": [1], "item": [[1]]}}',
    b'{"inputs": {"user": [NaN], "user/weight": [1], "item": [[1]]}}',
    b'{"inputs": {"user": [true], "user/weight": [1], "item": [[1]]}}',
    b'{"inputs": {"user": [1], "user/weight": [1], "item": [[1], []]}}',
    b'{"inputs": {"user": [1], "user/weight": [1], "item": [[[1]], [1]]}}',
    b'{"inputs": {"user": [1, 2], "user/weight": [1, 2, 3], "item": [[1]]}}',
    b'{"inputs": {"user": {"b64": "QQ=="}, "user/weight": [1], "item": [[1]]}}',
    b'{"instances": [{"user": [1]}]}',
    b'{"instances": [1, {"user": [1]}]}',
    b'{"signature_name": "examples", "instances": [{"b64": "\xff"}]}',
    b'{"signature_name": "examples", "instances": ["\xff\xfe not an Example"]}',
    b'{"signature_name": "\\u0000", "inputs": {}}',
    b'{"signature_name": "slow", "inputs": "many"}',
]


@pytest.mark.parametrize("body", BAD_BODIES, ids=lambda body: repr(body[:50]))
def test_bad_body_gets_an_error_and_the_next_good_call_its_scores(server, body):
    check_error(server.call("POST", PREDICT, body), {400})
    check_good(server)


def mangled(draw):
    """A good body with a part cut out, doubled or replaced."""
    body = bytearray(json.dumps(GOOD).encode())
    begin = draw(st.integers(0, len(body) - 1))
    end = draw(st.integers(begin, min(len(body), begin + 12)))
    body[begin:end] = draw(
        st.one_of(st.binary(max_size=8), st.sampled_from([b"", b"[", b"]", b'"', b"-", b"null", b"1e5"]))
    )
    return bytes(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["user", "item", "b64", "x"]), inner),
    max_leaves=12,
)
structured_bodies = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.fixed_dictionaries({"user": json_values, "user/weight": json_values, "item": json_values}),
        "instances": st.lists(json_values, max_size=3),
        "signature_name": st.sampled_from(["serving_default", "examples", "classification", ""]) | json_values,
        "examples": st.lists(json_values, max_size=3),
        "context": json_values,
    },
).map(lambda body: json.dumps(body).encode())


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    body=st.composite(mangled)() | structured_bodies | st.binary(max_size=60),
    method=st.sampled_from(["predict", "classify", "regress"]),
)
def test_any_body_gets_scores_or_an_error_of_the_client(server, body, method):
    status, headers, answer = server.call("POST", f"/v1/models/toy:{method}", body)
    if status != 200:
        check_error((status, headers, answer), {400})
    check_good(server)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_http_methods_are_errors(server, method):
    check_error(server.call(method, PREDICT, json.dumps(GOOD)), {400})


def exchange(server, *parts):
    """All bytes that come back of what is sent to the server as it stands."""
    with socket.create_connection((server.address.hostname, server.address.port)) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(0.05)
        connection.settimeout(20)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    return answer


def head(*lines):
    return "\r\n".join([f"POST {PREDICT} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def test_bodies_in_chunks_and_calls_one_behind_the_other(server):
    body = json.dumps(GOOD).encode()
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:60], body[60:])]
    chunked = head("Transfer-Encoding: chunked", "Connection: close"), *chunks, b"0\r\n\r\n"
    answer = exchange(server, *chunked)
    assert answer.startswith(b"HTTP/1.1 200") and b"pctcvr" in answer
    first = head(f"Content-Length: {len(body)}") + body
    last = head(f"Content-Length: {len(body)}", "Connection: close") + body
    answer = exchange(server, first + first + last)
    assert answer.count(b"HTTP/1.1 200") == answer.count(b"pctcvr") == 3


def test_head_is_an_error_without_a_body(server):
    assert server.call("HEAD", "/v1/models/toy")[::2] == (400, b"")
    check_good(server)


def test_a_body_that_says_when_it_wants_to_go_on(server):
    """As curl sends one of more than a megabyte."""
    body = json.dumps(GOOD).encode()
    answer = exchange(server, head(f"Content-Length: {len(body)}", "Expect: 100-continue", "Connection: close"), body)
    assert answer.startswith(b"HTTP/1.1 100") and b"HTTP/1.1 200" in answer


def test_too_large_body_is_refused(server):
    too_large = json.dumps(GOOD).encode() + b" " * MAX_BYTES
    assert "--max_request_bytes" in check_error(server.call("POST", PREDICT, too_large), {413})
    zipped = gzip.compress(b"[" + b"1," * 10 * MAX_BYTES + b"1]")
    assert len(zipped) < MAX_BYTES
    check_error(server.call("POST", PREDICT, zipped, {"Content-Encoding": "gzip"}), {413})
    check_good(server)


def test_compressed_body_is_read_and_a_broken_one_refused(server):
    zipped = gzip.compress(json.dumps(GOOD).encode())
    assert server.call("POST", PREDICT, zipped, {"Content-Encoding": "gzip"})[0] == 200
    assert server.call("POST", PREDICT, zipped[:-12] + b"broken", {"Content-Encoding": "gzip"})[0] == 400
    check_good(server)


def test_body_that_does_not_arrive_ends_the_wait(server):
    connection = server.connection()
    connection.putrequest("POST", PREDICT)
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'{"inputs"')
    response = connection.getresponse()
    assert response.status == 408 and "did not arrive" in json.loads(response.read())["error"]
    connection.close()


def test_call_that_takes_too_long_and_a_full_queue_are_errors(server):
    slow = {"signature_name": "slow", "inputs": 10**12}
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.call("POST", PREDICT, slow))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_status = {}
    for answer in answers:
        by_status.setdefault(answer[0], []).append(check_error(answer, {503, 504}))
    assert len(by_status[503]) == 4 and "--max_queued_calls" in by_status[503][0]
    assert len(by_status[504]) == 4 and "within 2 s" in by_status[504][0]
    # The two that were in the graph are ended there, so that the threads are free again.
    while server.call("POST", PREDICT, GOOD)[0] in (503, 504):
        time.sleep(0.05)
    check_good(server)


def test_event_loop_answers_while_calls_run(server):
    slow = {"signature_name": "slow", "inputs": 100_000}
    thread = threading.Thread(target=server.call, args=("POST", PREDICT, slow))
    thread.start()
    assert server.versions() == {"1": "AVAILABLE"}
    thread.join()


def test_metrics_count_calls_under_the_names_of_tensorflow_serving(server):
    def count(name, *labels):
        text = server.call("GET", "/monitoring/prometheus/metrics")[2].decode()
        lines = [line for line in text.splitlines() if line.startswith(name) and all(label in line for label in labels)]
        return float(lines[0].split()[-1]) if lines else 0

    ok = (":tensorflow:serving:request_count{", 'model_name="toy"', 'status="OK"')
    bad = (":tensorflow:serving:request_count{", 'model_name="toy"', 'status="INVALID_ARGUMENT"')
    latency = (":tensorflow:serving:request_latency_count{", 'API="predict"', 'entrypoint="REST"')
    before = [count(*labels) for labels in (ok, bad, latency)]
    check_good(server)
    server.call("POST", PREDICT, b"{")
    assert [count(*labels) for labels in (ok, bad, latency)] == [before[0] + 1, before[1] + 1, before[2] + 1]
    assert count(":tensorflow:cc:saved_model:load_attempt_count{", 'status="success"') == 1


def publish(path, target):
    os.rename(path, target)


def wait_for(condition):
    while not condition():
        time.sleep(0.02)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2])
def test_a_server_that_is_ended_while_it_loads_a_version_ends_well(tmp_path, delay):
    base = tmp_path / "base"
    base.mkdir()
    for version in (1, 2):
        write_toy_model(str(tmp_path / f"made{version}"), shift=float(version))
    publish(tmp_path / "made1", base / "1")
    with running_server(f"--model_base_path={base}", "--model_name=toy", "--file_system_poll_wait_seconds=0.01"):
        publish(tmp_path / "made2", base / "2")
        # The block's end sends the signal, and holds the server to status 0.
        time.sleep(delay)


def test_new_versions_are_served_without_a_failed_or_mixed_answer(tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for version in (1, 2, 3):
        write_toy_model(str(tmp_path / f"made{version}"), shift=float(version))
    publish(tmp_path / "made1", base / "1")
    expected = {version: toy_scores([3, 5], [0.5, 2.0], GOOD["inputs"]["item"], version) for version in (1, 2, 3)}
    with running_server(
        f"--model_base_path={base}", "--model_name=toy", "--file_system_poll_wait_seconds=0.05"
    ) as server:
        seen, wrong, stop = [], [], threading.Event()

        def ask():
            while not stop.is_set():
                status, answer = server.json("POST", PREDICT, GOOD)
                outputs = answer.get("outputs")
                found = [
                    v
                    for v in expected
                    if outputs and all(np.allclose(outputs[n], s, atol=1e-6) for n, s in expected[v].items())
                ]
                if status != 200 or not found:
                    wrong.append((status, answer))
                else:
                    seen.append(found[0])

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for version in (2, 3):
                publish(tmp_path / f"made{version}", base / str(version))
                wait_for(lambda number=version: server.versions().get(str(number)) == "AVAILABLE")
                wait_for(lambda number=version: seen[-1:] == [number])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not wrong
        assert set(seen) == {1, 2, 3}
        assert server.versions() == {"3": "AVAILABLE", "2": "END", "1": "END"}


def test_broken_version_leaves_the_old_one_and_is_taken_when_repaired(tmp_path):
    base = tmp_path / "base"
    write_toy_model(str(base / "1"))
    made = write_toy_model(str(tmp_path / "made"), shift=1.0)
    with running_server(
        f"--model_base_path={base}", "--model_name=toy", "--file_system_poll_wait_seconds=0.05"
    ) as server:
        half = base / "2"
        half.mkdir()
        (half / "variables").mkdir()
        time.sleep(0.3)
        assert server.versions() == {"1": "AVAILABLE"}  # no saved_model.pb yet: still being copied
        (half / "saved_model.pb").write_bytes(b"not a SavedModel")
        wait_for(lambda: server.versions().get("2") == "END")
        _, answer = server.json("GET", "/v1/models/toy/versions/2")
        status = answer["model_version_status"][0]["status"]
        assert status["error_code"] != "OK" and status["error_message"]
        check_good(server)
        shutil.rmtree(half)
        shutil.copytree(made, tmp_path / "copy")
        publish(tmp_path / "copy", half)
        wait_for(lambda: server.versions().get("2") == "AVAILABLE")
        _, answer = server.json("POST", PREDICT, GOOD)
        shifted = toy_scores([3, 5], [0.5, 2.0], GOOD["inputs"]["item"], 1.0)
        np.testing.assert_allclose(answer["outputs"]["pctr"], shifted["pctr"], atol=1e-6)


def test_sigterm_answers_the_calls_under_way(tmp_path):
    base = tmp_path / "base"
    write_toy_model(str(base / "1"))
    with running_server(f"--model_base_path={base}", "--model_name=toy") as server:
        answers = []
        slow = {"signature_name": "slow", "inputs": 300_000}
        threads = [
            threading.Thread(target=lambda: answers.append(server.json("POST", PREDICT, slow))) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert answers == [(200, {"outputs": 300_000})] * 3
        assert server.process.wait() == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "--model_base_path"),
        (("--model_base_path=/no/such/folder",), "/no/such/folder"),
        (("--model_config_file=/no/such/file",), "/no/such/file"),
    ],
)
def test_wrong_flags_end_with_a_message(tmp_path, flags, message):
    log = tmp_path / "log"
    with log.open("w") as file, pytest.raises(AssertionError, match="did not start"), running_server(*flags, log=file):
        pass
    text = log.read_text()
    assert message in text and "Traceback" not in text
