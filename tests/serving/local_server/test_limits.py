"""What the server takes on: bodies, connections and time have bounds, and each outcome is counted as what it was."""

import asyncio
import contextlib
import gc
import gzip
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from aiohttp import test_utils
from local_server_examples import Server, running_server, write_toy_model

from serving.local_server import http_app, json_document, metrics, models, number_columns
from serving.local_server.connections import bound_socket
from serving.local_server.model_config import ModelConfig
from serving.local_server.servable import Servable
from serving.local_server.status import Code, ServingError

PREDICT = "/v1/models/toy:predict"
GOOD = {"inputs": {"user": [3, 5], "user/weight": [0.5, 2.0], "item": [[4, -1]]}}
SLOW = {"signature_name": "slow", "inputs": 10**12}
MAX_BYTES = 1_000_000


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write_toy_model(str(folder / "0007"))
    return folder


def start(base, *flags, **options):
    return running_server(f"--model_base_path={base}", "--model_name=toy", *flags, **options)


@pytest.fixture(scope="module")
def server(base):
    flags = ("--rest_api_num_threads=1", "--max_queued_calls=2", "--rest_api_timeout_in_ms=3000")
    with start(base, *flags, f"--max_request_bytes={MAX_BYTES}") as running:
        yield running


def counts(server):
    """Calls by status, and answered calls in the histogram of times."""
    text = server.call("GET", "/monitoring/prometheus/metrics")[2].decode()
    found = {}
    for line in text.splitlines():
        if line.startswith(":tensorflow:serving:request_count{"):
            found[line.split('status="')[1].split('"')[0]] = int(line.split()[-1])
        if line.startswith(":tensorflow:serving:request_latency_count{"):
            assert 'API="predict"' in line and 'entrypoint="REST"' in line
            found["timed"] = int(line.split()[-1])
    return found


def test_each_outcome_is_counted_as_what_it_was(server):
    def post(body, headers=None):
        return server.call("POST", PREDICT, body, headers)[0]

    assert post(GOOD) == 200
    before = counts(server)
    slow = threading.Thread(target=post, args=(SLOW,))
    waits = threading.Thread(target=post, args=(GOOD,))
    slow.start()
    time.sleep(0.3)
    waits.start()
    time.sleep(0.3)
    assert post(GOOD) == 503
    slow.join()
    waits.join()
    assert post(b" " * (MAX_BYTES + 1)) == 413
    assert post(b"{") == 400
    connection = server.connection()
    connection.putrequest("POST", PREDICT)
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    after = counts(server)
    new = {status: after[status] - before.get(status, 0) for status in after if after[status] != before.get(status, 0)}
    answered = new.pop("OK", 0)
    assert new.pop("timed", 0) == answered <= 1
    assert (
        new.pop("DEADLINE_EXCEEDED") == 3 - answered
    )  # the slow call, the body that did not come, perhaps the one that waited
    assert new == {"UNAVAILABLE": 1, "RESOURCE_EXHAUSTED": 1, "INVALID_ARGUMENT": 1}


def test_names_that_callers_make_up_add_no_metrics(server):
    for number in range(20):
        assert server.call("POST", f"/v1/models/made_up_{number}:predict", GOOD)[0] == 404
    text = server.call("GET", "/monitoring/prometheus/metrics")[2].decode()
    assert "made_up" not in text and 'model_name="",status="NOT_FOUND"} 20' in text


def test_a_full_queue_refuses_a_call_before_its_body(server):
    threads = [threading.Thread(target=server.call, args=("POST", PREDICT, SLOW)) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    connection = server.connection()
    connection.putrequest("POST", PREDICT)
    connection.putheader("Content-Length", str(MAX_BYTES))
    connection.endheaders()
    response = connection.getresponse()  # not a byte of the body was sent
    assert response.status == 503 and "--max_queued_calls" in json.loads(response.read())["error"]
    for thread in threads:
        thread.join()


def test_bodies_in_flight_are_bounded(base):
    """Four times the largest body."""
    flags = ("--max_request_bytes=100000", "--max_queued_calls=100", "--rest_api_timeout_in_ms=20000")
    with start(base, *flags) as server:
        connections = []
        statuses = []
        for _ in range(8):
            connection = server.connection()
            connection.putrequest("POST", PREDICT)
            connection.putheader("Content-Length", "99999")
            connection.endheaders(b" " * 90_000)
            connections.append(connection)
        for connection in connections:
            connection.sock.settimeout(3)
            with contextlib.suppress(TimeoutError, ConnectionError):
                statuses.append(connection.getresponse().status)
            connection.close()
        assert statuses and set(statuses) == {503}
        assert server.call("POST", PREDICT, GOOD)[0] == 200


def test_a_document_of_16_mb_is_cut_before_it_is_written():
    document = {"x": [[1.5] * 1000 for _ in range(2000)]}
    begin = time.process_time()
    text = json_document.quoted(document)
    assert len(text) == 1004 and time.process_time() - begin < 1
    assert len(json_document.quoted("a" * 10**7)) <= 1004


def test_a_gzip_bomb_is_cut_while_it_is_inflated():
    bomb = gzip.compress(bytes(200 << 20), 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ServingError) as raised:
        http_app.inflated(bomb, 1 << 20)
    assert raised.value.http_status == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_a_parser_does_not_keep_the_buffer_of_a_large_body():
    def parse(count):
        inputs = json.dumps({"inputs": {"item": [1] * count}}).encode()
        return number_columns.parse(inputs, "signature_name", "inputs", lambda _: {"item": "int64"})

    parse(10)
    kept = number_columns._PARSERS.mine
    parse(10)
    assert number_columns._PARSERS.mine is kept
    parse(1_000_000)
    assert number_columns._PARSERS.mine is not kept


def limited_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))


def test_more_connections_than_descriptors_do_not_stop_the_server(base, monkeypatch):
    plain = subprocess.Popen

    def limited(*arguments, **options):
        return plain(*arguments, **options, preexec_fn=limited_descriptors)

    monkeypatch.setattr(subprocess, "Popen", limited)
    with start(base) as server:
        monkeypatch.setattr(subprocess, "Popen", plain)
        address = (server.address.hostname, server.address.port)
        idle = [socket.create_connection(address) for _ in range(300)]
        busy = cpu_seconds(server.process.pid)
        time.sleep(1)
        assert cpu_seconds(server.process.pid) - busy < 0.5  # it does not turn in circles
        assert len(os.listdir(f"/proc/{server.process.pid}/fd")) < 200
        for connection in idle:
            connection.close()
        time.sleep(0.5)
        assert server.call("POST", PREDICT, GOOD)[0] == 200


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def with_constants(base, **constants):
    """A server of which some constants have other values, at a free port."""
    changes = "; ".join(f"m.{name} = {value}" for name, value in constants.items())
    code = (
        f"import serving.__main__ as m; {changes}; import sys; "
        f"sys.argv = ['serving', '--model_base_path={base}', '--model_name=toy', '--rest_api_port=0']; m.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield Server(process, process.stdout.readline().split()[2].rstrip(";"))
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def hasty(base):
    """A server that waits for nothing long; the last test that uses it ends it."""
    with with_constants(base, IDLE_SECONDS=0.5, DRAIN_SECONDS=2.0) as running:
        yield running


def begin(server, body):
    """Sends a call, and does not wait for its answer."""
    body = json.dumps(body).encode()
    call = socket.create_connection((server.address.hostname, server.address.port))
    call.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (PREDICT.encode(), len(body)) + body)
    return call


def test_connections_without_a_request_are_closed(hasty):
    silent, half, kept = (socket.create_connection((hasty.address.hostname, hasty.address.port)) for _ in range(3))
    half.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\n")
    kept.sendall(b"GET /v1/models/toy HTTP/1.1\r\nHost: x\r\n\r\n")
    for connection in (silent, half, kept):
        connection.settimeout(20)
        while connection.recv(1 << 16):
            pass


def test_a_call_that_never_ends_does_not_keep_the_server_longer_than_it_drains(hasty):
    with begin(hasty, SLOW):
        time.sleep(0.5)
        start = time.monotonic()
        hasty.process.send_signal(signal.SIGTERM)
        assert hasty.process.wait() == 1
        assert 1 < time.monotonic() - start < 10  # the call itself would take 30 s


def test_a_caller_that_is_gone_is_counted_as_one_who_gave_up(server):
    before = counts(server).get("CANCELLED", 0)
    with socket.create_connection((server.address.hostname, server.address.port)) as connection:
        connection.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{" % PREDICT.encode())
        time.sleep(0.3)
    while counts(server).get("CANCELLED", 0) != before + 1:
        time.sleep(0.05)


def test_an_error_of_the_server_itself_is_counted_as_one():
    class Broken:
        def counted_name(self, address):
            return address.name

        def call(self, *_):
            raise RuntimeError("a fault")

    async def ask():
        async with test_utils.TestClient(test_utils.TestServer(application)) as client:
            answer = await client.post(PREDICT, data=b"{}")
            return answer.status, await answer.json()

    counted = metrics.Metrics()
    limits = http_app.Limits(1, 9, 1000, 1000, 9.0)
    application = http_app.HttpApp(Broken(), counted, None, limits, "").application()
    assert asyncio.run(ask()) == (500, {"error": "internal error; the server's log has more"})
    assert ':tensorflow:serving:request_count{model_name="toy",status="INTERNAL"} 1' in counted.text()
    assert "latency" not in counted.text()


def test_a_warm_up_takes_the_time_that_it_takes_and_a_call_does_not(tmp_path):
    path = write_toy_model(str(tmp_path / "1"), warm_up=[{"turns": 300_000}])
    loaded = Servable("toy", 1, path, timeout_ms=50)
    assert loaded.warmup_calls == 1
    with pytest.raises(ServingError) as raised:
        loaded.predict("slow", {"turns": np.array(10**9)})
    assert raised.value.code == Code.DEADLINE_EXCEEDED
    loaded.close()


def test_a_version_that_is_no_longer_served_leaves_the_memory_at_once(tmp_path):
    """Its graph is a circle of references, and the collector may not come for hours."""
    for version in (1, 2):
        write_toy_model(str(tmp_path / "made" / str(version)))
    (tmp_path / "base").mkdir()
    (tmp_path / "made" / "1").rename(tmp_path / "base" / "1")
    manager = models.Models([ModelConfig("toy", str(tmp_path / "base"))], metrics.Metrics(), Servable)
    gc.collect()
    gc.disable()
    try:
        manager.poll()
        with manager.use("toy") as servable:
            old = weakref.ref(servable._session.graph)
        del servable
        (tmp_path / "made" / "2").rename(tmp_path / "base" / "2")
        manager.poll()
        assert old() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", 200), ("localhost:80", 200), ("evil.example", 403)])
@pytest.mark.parametrize("path", ["/try", "/try/models"])
def test_the_page_and_its_data_are_for_this_machine(server, host, status, path):
    assert server.call("GET", path, headers={"Host": host})[0] == status


def test_what_is_no_http_gets_an_error(server):
    with socket.create_connection((server.address.hostname, server.address.port)) as connection:
        connection.sendall(b"\x00\x01 nonsense\r\n\r\n")
        connection.settimeout(20)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400", b"HTTP/1.1 501", b"HTTP/1.0 501"))
    assert b"Traceback" not in answer


def test_a_port_that_is_taken_is_said_before_models_are_loaded(base, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = (f"--model_base_path={base}", "--model_name=toy", f"--rest_api_port={taken.getsockname()[1]}")
        done = subprocess.run([sys.executable, "-m", "serving", *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "--rest_api_port=" in done.stderr and "Traceback" not in done.stderr
    assert "loading version" not in done.stderr


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1"])
def test_an_address_that_is_not_this_machines_is_said(host):
    with pytest.raises(OSError, match=f"--rest_api_host={host} --rest_api_port=1: "):
        bound_socket(host, 1)


def test_a_base_path_that_is_a_version_is_said(base):
    done = subprocess.run(
        [sys.executable, "-m", "serving", f"--model_base_path={base}/0007"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and f"is a version; give the folder of versions, {base}" in done.stderr


def test_version_folders_are_those_of_tensorflow_serving(tmp_path):
    for name in ("0012", "3", str(2**63 - 1), str(2**63), "9" * 60, "0" * 41 + "9" * 30, "x1", "1x", "-4", "1.5"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    found = models.versions_on_disk(str(tmp_path))
    assert sorted(found) == [3, 12, 2**63 - 1] and found[12].endswith("0012")


def test_a_second_signal_ends_the_server_at_once(base):
    with with_constants(base, DRAIN_SECONDS=30.0) as toy, begin(toy, SLOW):
        time.sleep(0.5)
        toy.process.send_signal(signal.SIGINT)
        time.sleep(1)
        assert toy.process.poll() is None  # it waits for the call
        toy.process.send_signal(signal.SIGINT)
        assert toy.process.wait() == 130  # and not the 0 of a server whose calls were answered


def test_ctrl_c_while_a_version_is_loaded_ends_the_server_at_once(tmp_path):
    write_toy_model(str(tmp_path / "1"), warm_up=[{"turns": 10**12}])
    command = [sys.executable, "-m", "serving", "--rest_api_port=0", f"--model_base_path={tmp_path}"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while "loading version" not in process.stderr.readline():
        pass
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]  # the warm-up alone would take hours
    assert process.returncode and "Traceback" not in errors


def test_a_base_path_without_versions_is_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(models.logging, "warning", lambda text, *values: said.append(text % values))
    models.require_base_path(ModelConfig("toy", str(tmp_path)))
    assert said == [f"model toy: {tmp_path} has no version yet (a folder whose name is a number)"]
