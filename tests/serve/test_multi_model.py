"""A multi-model endpoint, asked as SageMaker asks it."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from .conftest import Answer, Server, encode, make_model, picture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("many")
    make_model(base / "models" / "one" / "model")
    make_model(base / "models" / "two" / "model", "mobilenet_v2")
    make_model(base / "outside")
    (base / "models" / "broken").mkdir()
    (base / "models" / "broken" / "model.safetensors").write_bytes(b"x")
    (base / "models" / "link").symlink_to(base / "outside")
    linked = base / "models" / "linked file"
    linked.mkdir()
    (linked / "model.json").symlink_to(base / "outside" / "model.json")
    shutil.copy(base / "outside" / "model.safetensors", linked)
    shutil.copytree(base / "outside", base / "models" / "pickled")
    (base / "models" / "pickled" / "extra.pkl").write_bytes(b"")
    return base


@pytest.fixture(scope="module")
def many(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(base, tmp_path_factory.mktemp("log") / "log", SAGEMAKER_MULTI_MODEL="true")
    try:
        server.wait_until_healthy()
        yield server
    finally:
        assert server.stop() == 0


def load(server: Server, name: str, folder: Path | str) -> Answer:
    body = json.dumps({"model_name": name, "url": str(folder)}).encode()
    return server.request("POST", "/models", body, content_type="application/json")


def invoke(server: Server, name: str, seed: int = 0) -> Answer:
    path = f"/models/{quote(name, safe='')}/invoke"
    return server.request("POST", path, encode(picture(seed)), content_type="image/png")


def architecture(answer: Answer) -> str:
    assert answer.status == 200, answer.body
    return str(json.loads(answer.body)["model"]["architecture"])


def test_load_list_invoke_unload(many: Server, base: Path) -> None:
    name = "cats/2024 é+%"  # SageMaker makes names that are opaque
    assert json.loads(many.request("GET", "/models").body) == {"models": []}
    assert invoke(many, name).status == 404
    loaded = load(many, name, base / "models" / "one" / "model")
    assert loaded.status == 200, loaded.body
    assert load(many, "two", base / "models" / "two" / "model").status == 200
    assert load(many, name, base / "models" / "two" / "model").status == 409
    for _ in range(4):  # both workers
        assert architecture(invoke(many, name)) == "resnet18"
        assert architecture(invoke(many, "two")) == "mobilenet_v2"
    described = {"modelName": name, "modelUrl": str(base / "models" / "one" / "model")}
    assert json.loads(many.request("GET", f"/models/{quote(name, safe='')}").body) == described
    first = json.loads(many.request("GET", "/models?limit=1").body)
    assert first["models"] == [described]
    rest = json.loads(many.request("GET", f"/models?limit=1&next_page_token={first['nextPageToken']}").body)
    assert [model["modelName"] for model in rest["models"]] == ["two"]
    assert "nextPageToken" not in rest
    for each in (name, "two"):
        assert many.request("DELETE", f"/models/{quote(each, safe='')}").status == 200
        assert invoke(many, each).status == 404
        assert many.request("DELETE", f"/models/{quote(each, safe='')}").status == 404


def test_a_name_that_comes_back_is_the_new_model(many: Server, base: Path) -> None:
    for folder, expected in (("one", "resnet18"), ("two", "mobilenet_v2"), ("one", "resnet18")):
        assert load(many, "same", base / "models" / folder / "model").status == 200
        assert {architecture(invoke(many, "same")) for _ in range(4)} == {expected}
        assert many.request("DELETE", "/models/same").status == 200


@pytest.mark.parametrize(
    ("folder", "status", "says"),
    [
        ("/etc", 400, "folder in"),
        ("models/../outside", 400, "folder in"),
        ("models/link", 400, "folder in"),
        ("models", 400, "folder in"),
        ("models/absent", 400, "folder in"),
        ("http://127.0.0.1/x.mar", 400, "folder in"),
        ("models/broken", 422, "model.json"),
        ("models/linked file", 422, "is a link"),
        ("models/pickled", 422, "pickle"),
        ("models/one", 422, "no model.safetensors"),
    ],
)
def test_only_a_sound_model_under_the_models_folder_is_loaded(
    many: Server, base: Path, folder: str, status: int, says: str
) -> None:
    url = folder if folder.startswith(("http", "/")) else f"{base}/{folder}"
    answer = load(many, "evil", url)
    assert (answer.status, json.loads(answer.body)["code"]) == (status, status), answer.body
    assert says in json.loads(answer.body)["message"]
    assert json.loads(many.request("GET", "/models").body) == {"models": []}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/models", b"", 400),
        ("POST", "/models", b"[" * 60_000, 400),
        ("POST", "/models", b'{"model_name": 1}', 400),
        ("POST", "/models", b'{"model_name": "", "url": "/"}', 400),
        ("POST", "/models", b'{"model_name": {}, "url": []}', 400),
        ("POST", "/models", b"x" * 70_000, 413),
        ("PUT", "/models", b"", 405),
        ("POST", "/models/x", b"", 405),
        ("GET", "/models/x/invoke", None, 404),
        ("GET", "/models/%zz", None, 400),
        ("GET", "/models?limit=0", None, 400),
        ("GET", "/models?limit=%zz", None, 400),
        ("GET", "/models?next_page_token=x", None, 400),
        ("GET", "/models/a/b/c", None, 404),
        ("POST", "/invocations", b"x", 404),
    ],
)
def test_mistakes_are_told(many: Server, method: str, path: str, body: bytes | None, status: int) -> None:
    answer = many.request(method, path, body)
    assert answer.status == status, answer.body
    assert json.loads(answer.body)["code"] == status
    assert many.ping() == 200


def test_who_leaves_while_a_model_is_loaded_leaves_nothing_behind(many: Server, base: Path) -> None:
    body = json.dumps({"model_name": "left", "url": str(base / "models" / "one" / "model")}).encode()
    with socket.create_connection(("127.0.0.1", many.port)) as connection:
        connection.sendall(b"POST /models HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    end = time.monotonic() + 20
    while load(many, "left", base / "models" / "one" / "model").status == 409:
        assert time.monotonic() < end
        # Either it is still being loaded, or it was loaded before the connection was gone.
        many.request("DELETE", "/models/left")
    assert architecture(invoke(many, "left")) == "resnet18"
    assert many.request("DELETE", "/models/left").status == 200


def test_memory_is_a_budget_and_comes_back(base: Path, tmp_path: Path) -> None:
    def memory(server: Server) -> int:
        total = 0
        for pid in server.processes():
            fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split("Pss:")[1].split()
            total += int(fields[0])
        return total >> 10

    size = (base / "models" / "one" / "model" / "model.safetensors").stat().st_size >> 20
    budget = 5 * 2 * (2 * size + 7)  # five models in two workers; OpenVINO keeps weights twice
    server = Server(base, tmp_path / "log", SAGEMAKER_MULTI_MODEL="true", BYOC_MODELS_MEMORY_MB=str(budget))
    try:
        server.wait_until_healthy()
        empty = memory(server)
        statuses = []
        for number in range(7):
            statuses.append(load(server, f"m{number}", base / "models" / "one" / "model").status)
        assert statuses == [200] * 5 + [507] * 2
        for _ in range(4):
            for number in range(5):
                assert invoke(server, f"m{number}").status == 200
        full = memory(server)
        # Beside the models, the first forward passes leave working memory in each worker.
        assert full - empty < 1.5 * budget, (empty, full, budget)
        for number in range(5):
            assert server.request("DELETE", f"/models/m{number}").status == 200
        end = time.monotonic() + 10
        while memory(server) > empty + 0.4 * (full - empty):
            assert time.monotonic() < end, (empty, full, memory(server))
            time.sleep(0.1)
        assert load(server, "again", base / "models" / "one" / "model").status == 200
    finally:
        server.stop()
