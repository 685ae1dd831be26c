from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from local.api.transform import transform_document

Platform = Any  # conftest.Platform

# Shouts what it gets; the request's body chooses how.
SERVE = r"""
import http.server, threading
counts, lock = {"now": 0, "most": 0}, threading.Lock()
together = threading.Barrier(int(os.environ.get("TOGETHER", "1")))
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", len(body))
        self.end_headers(); self.wfile.write(body)
    def do_GET(self):
        if self.path == "/ping": return self.answer(PING(), b"")
        status, body = PARAMETERS
        self.answer(status, body)
    def read(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size); self.rfile.readline()
        self.rfile.readline()
        return b"chunked " + body
    def do_POST(self):
        body = self.read()
        os.write(1, b"request %r\n" % body[:40])
        if body == b"environment":
            told = {k: v for k, v in os.environ.items() if k.startswith("SAGEMAKER_") or k == "TAG"}
            body = json.dumps({"headers": dict(self.headers), "environment": told}).encode()
            return self.answer(200, body)
        if body == b"exit": os._exit(9)
        if body == b"once" and not (base / "once").exists():
            (base / "once").touch(); return self.answer(503, b"busy")
        if body == b"die once" and not (base / "died").exists():
            (base / "died").touch(); os._exit(9)
        if body == b"sleep": time.sleep(60)
        if body == b"bad": return self.answer(422, b"no picture")
        if body == b"error": return self.answer(500, b"oh")
        with lock:
            counts["now"] += 1; counts["most"] = max(counts.values())
        together.wait()
        with lock: counts["now"] -= 1
        self.answer(200, str(counts["most"]).encode() if body.startswith(b"most") else body.upper())
PING = lambda: 200
PARAMETERS = (404, b"")
"""
RUN = """
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
server.serve_forever()
"""
GROUP = "/aws/sagemaker/TransformJobs"


def model(platform: Platform, **container: Any) -> None:
    container = {"Image": platform.image, **container}
    model = {"ModelName": "m", "ModelArn": platform.config.arn("model", "m"), "PrimaryContainer": container}
    platform.store.put("model", "m", model)


def transform(platform: Platform, name: str = "job", **members: Any) -> None:
    """Starts a job over s3://bucket/in/; `source` and `target` are put into its input and output."""
    source, target = members.pop("source", {}), members.pop("target", {})
    request = {
        "TransformJobName": name,
        "ModelName": "m",
        "TransformInput": {
            "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}},
            **source,
        },
        "TransformOutput": {"S3OutputPath": "s3://bucket/out/", **target},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
        **members,
    }
    platform.store.put("transform-job", name, transform_document(platform.config, request))
    platform.engine.submit("transform-job", name)


def ended(platform: Platform, wanted: str = "Completed", name: str = "job") -> dict[str, Any]:
    doc: dict[str, Any] = platform.wait("transform-job", name, lambda doc: "TransformEndTime" in doc)
    assert doc["TransformJobStatus"] == wanted, doc.get("FailureReason")
    assert not list(platform.config.jobs_root.glob("*"))
    return doc


def outputs(platform: Platform) -> dict[str, bytes]:
    root = platform.object("s3://bucket/out")
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def lines(platform: Platform, part: str = "", name: str = "job") -> list[str]:
    """The texts of the container's log, or of another stream beside it."""
    folder = platform.config.log_folder(GROUP) / name
    [file] = [path for path in folder.rglob("*.log") if (path.stem == "data-log") == (part == "data-log")]
    return [line.partition(" ")[2] for line in file.read_text().splitlines()]


def asked(platform: Platform, name: str = "job") -> None:
    """Waits for the first request."""
    platform.log_line("request", name, GROUP)


@pytest.fixture
def served(platform: Platform) -> Platform:
    """A platform with the model `m` and a container that shouts."""
    platform.command("serve", SERVE + RUN)
    model(platform, Environment={"TAG": "model"})
    return platform


def test_each_object_has_its_output_under_its_key(served: Platform) -> None:
    for key in ("b.txt", "a.txt", "deep/er/c"):
        served.put(f"s3://bucket/in/{key}", key)
    served.put("s3://bucket/other/x", "x")
    transform(served)
    doc = ended(served)
    assert outputs(served) == {
        "a.txt.out": b"A.TXT",
        "b.txt.out": b"B.TXT",
        "deep/er/c.out": b"DEEP/ER/C",
    }
    assert doc["CreationTime"] <= doc["TransformStartTime"] <= doc["TransformEndTime"]
    assert "FailureReason" not in doc
    [told] = [line for line in lines(served, "data-log") if "MaxConcurrentTransforms" in line]
    assert told.endswith("MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD")


def test_the_container_knows_of_the_job_what_the_request_says(served: Platform) -> None:
    served.put("s3://bucket/in/x", "environment")
    transform(
        served,
        source={"ContentType": "image/png"},
        target={"Accept": "application/json"},
        Environment={"TAG": "job"},
        MaxConcurrentTransforms=3,
        MaxPayloadInMB=2,
        BatchStrategy="SingleRecord",
    )
    ended(served)
    told = json.loads(outputs(served)["x.out"])
    headers = {key.lower(): value for key, value in told["headers"].items()}
    assert (headers["content-type"], headers["accept"]) == ("image/png", "application/json")
    environment = told["environment"]
    del environment["SAGEMAKER_BASE_DIR"], environment["SAGEMAKER_BIND_TO_PORT"]
    assert environment == {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": "3",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "2",
        "SAGEMAKER_BATCH_STRATEGY": "SINGLE_RECORD",
        "TAG": "job",
    }


def test_what_the_request_does_not_say_is_not_in_the_environment(served: Platform) -> None:
    served.put("s3://bucket/in/x", "environment")
    transform(served)
    ended(served)
    environment = json.loads(outputs(served)["x.out"])["environment"]
    assert {key for key in environment if key.startswith("SAGEMAKER_")} == {
        "SAGEMAKER_BATCH",
        "SAGEMAKER_BASE_DIR",
        "SAGEMAKER_BIND_TO_PORT",
    }
    assert environment["TAG"] == "model"


@pytest.mark.parametrize("strategy", ["SingleRecord", "MultiRecord"])
def test_lines_keep_their_order(served: Platform, strategy: str) -> None:
    rows = [f"row {number}" for number in range(40)]
    served.put("s3://bucket/in/x.csv", "\n".join(rows) + "\n")
    transform(
        served,
        source={"SplitType": "Line"},
        target={"AssembleWith": "Line"},
        BatchStrategy=strategy,
        MaxConcurrentTransforms=8,
    )
    ended(served)
    assert outputs(served)["x.csv.out"].decode() == "\n".join(rows).upper() + "\n"
    requests = [line for line in lines(served) if line.startswith("request")]
    assert len(requests) == (40 if strategy == "SingleRecord" else 1)


def test_without_assembly_answers_follow_each_other(served: Platform) -> None:
    served.put("s3://bucket/in/x", "a\nb")
    served.put("s3://bucket/in/empty", "")
    transform(served, source={"SplitType": "Line"}, BatchStrategy="SingleRecord")
    ended(served)
    assert outputs(served) == {"x.out": b"AB", "empty.out": b""}


def test_a_manifest_names_the_objects(served: Platform) -> None:
    for name in "abc":
        served.put(f"s3://bucket/in/sub/{name}", name)
    served.put("s3://bucket/manifest", json.dumps([{"prefix": "s3://bucket/in/"}, "sub/c", "sub/a"]))
    source = {"S3DataType": "ManifestFile", "S3Uri": "s3://bucket/manifest"}
    transform(served, source={"DataSource": {"S3DataSource": source}})
    ended(served)
    assert outputs(served) == {"sub/a.out": b"A", "sub/c.out": b"C"}


def test_gzip_is_unpacked(served: Platform) -> None:
    served.put("s3://bucket/in/x.gz", gzip.compress(b"a\nb"))
    served.put("s3://bucket/in/y.gz", "no gzip")
    transform(
        served, source={"CompressionType": "Gzip", "SplitType": "Line"}, target={"AssembleWith": "Line"}
    )
    reason = ended(served, "Failed")["FailureReason"]
    assert outputs(served) == {"x.gz.out": b"A\nB\n"}
    assert "s3://bucket/in/y.gz: it cannot be read" in reason


def test_records_are_filtered_and_joined(served: Platform) -> None:
    served.put("s3://bucket/in/x.jsonl", '{"id": 1, "x": "a"}\n{"id": 2, "x": "b"}\n')
    kind = "application/jsonlines"
    transform(
        served,
        source={"SplitType": "Line", "ContentType": kind},
        target={"AssembleWith": "Line", "Accept": kind},
        DataProcessing={
            "InputFilter": "$.x",
            "JoinSource": "Input",
            "OutputFilter": "$['id','SageMakerOutput']",
        },
    )
    ended(served)
    assert [json.loads(line) for line in outputs(served)["x.jsonl.out"].splitlines()] == [
        {"id": 1, "SageMakerOutput": "A"},
        {"id": 2, "SageMakerOutput": "B"},
    ]


def test_a_bad_object_has_no_output_and_the_others_go_on(served: Platform) -> None:
    served.put("s3://bucket/in/a", "bad")
    served.put("s3://bucket/in/b", "fine\nbad\nfine")
    served.put("s3://bucket/in/c", "fine")
    transform(served, source={"SplitType": "Line"}, BatchStrategy="SingleRecord", MaxConcurrentTransforms=4)
    reason = ended(served, "Failed")["FailureReason"]
    assert outputs(served) == {"c.out": b"FINE"}
    assert reason.startswith("ClientError: 2 of 3 input objects could not be transformed")
    assert "s3://bucket/in/a: 422: no picture" in reason
    assert "The others: s3://bucket/in/b" in reason
    assert "[sagemaker logs]: bucket/in/b: 422: no picture" in lines(served, "data-log")
    # What is wrong with the input is not tried again.
    assert sum(line == "request b'bad'" for line in lines(served)) == 2


def test_an_object_above_the_payload_is_not_sent(served: Platform) -> None:
    served.put("s3://bucket/in/large", b"x" * (1 << 20) + b"x")
    served.put("s3://bucket/in/small", b"x" * (1 << 20))
    transform(served, MaxPayloadInMB=1)
    reason = ended(served, "Failed")["FailureReason"]
    assert list(outputs(served)) == ["small.out"]
    assert "in/large: a record is larger than MaxPayloadInMB, which is 1" in reason


def test_payload_0_streams(served: Platform) -> None:
    served.put("s3://bucket/in/x", "abc")
    transform(served, MaxPayloadInMB=0)
    ended(served)
    assert outputs(served)["x.out"] == b"CHUNKED ABC"


@pytest.mark.parametrize(("body", "times"), [("once", 2), ("die once", 2)])
def test_a_weak_container_is_asked_again(stopped: Platform, body: str, times: int) -> None:
    stopped.faster(retry_pause=0.01)
    stopped.start()
    stopped.command("serve", SERVE + RUN)
    model(stopped)
    stopped.put("s3://bucket/in/x", body)
    transform(stopped)
    ended(stopped)
    assert outputs(stopped)["x.out"] == body.upper().encode()
    assert sum(line.startswith("request") for line in lines(stopped)) == times


@pytest.mark.parametrize(("retries", "times"), [(None, 4), (0, 1), (1, 2)])
def test_retries_come_to_an_end(stopped: Platform, retries: int | None, times: int) -> None:
    stopped.faster(retry_pause=0.01)
    stopped.start()
    stopped.command("serve", SERVE + RUN)
    model(stopped)
    stopped.put("s3://bucket/in/x", "error")
    transform(stopped, ModelClientConfig={} if retries is None else {"InvocationsMaxRetries": retries})
    reason = ended(stopped, "Failed")["FailureReason"]
    assert reason.startswith("AlgorithmError: ")
    assert "s3://bucket/in/x: 500: oh" in reason
    assert sum(line.startswith("request") for line in lines(stopped)) == times


def test_a_request_times_out(served: Platform) -> None:
    served.put("s3://bucket/in/x", "sleep")
    transform(served, ModelClientConfig={"InvocationsMaxRetries": 0, "InvocationsTimeoutInSeconds": 1})
    assert "no answer within 1 seconds" in ended(served, "Failed")["FailureReason"]


def test_a_container_that_ends_again_and_again_fails_the_job(stopped: Platform) -> None:
    stopped.faster(retry_pause=0.01)
    stopped.start()
    stopped.command("serve", SERVE + RUN)
    model(stopped)
    stopped.put("s3://bucket/in/x", "exit")
    stopped.put("s3://bucket/in/y", "exit")
    transform(stopped)
    assert "has ended 4 times, the last time with exit code 9" in ended(stopped, "Failed")["FailureReason"]


def test_as_many_requests_at_a_time_as_the_request_wants(served: Platform) -> None:
    for number in range(6):
        served.put(f"s3://bucket/in/{number}", f"most {number}")
    # None of them is answered before three are there.
    transform(served, MaxConcurrentTransforms=3, Environment={"TOGETHER": "3"})
    ended(served)
    assert {int(content) for content in outputs(served).values()} == {3}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {"MaxConcurrentTransforms": 2, "MaxPayloadInMB": 4, "BatchStrategy": "SINGLE_RECORD"},
            "MaxConcurrentTransforms=2, MaxPayloadInMB=4, BatchStrategy=SINGLE_RECORD",
        ),
        ({"MaxConcurrentTransforms": 64}, "MaxConcurrentTransforms=16, MaxPayloadInMB=6"),
        (
            {"MaxConcurrentTransforms": "many", "MaxPayloadInMB": 5},
            "MaxConcurrentTransforms=1, MaxPayloadInMB=5",
        ),
        ({"BatchStrategy": "SingleRecord"}, "BatchStrategy=MULTI_RECORD"),
        ([], "MaxConcurrentTransforms=1, MaxPayloadInMB=6"),
    ],
)
def test_the_container_is_asked_for_its_parameters(platform: Platform, answer: Any, told: str) -> None:
    platform.command("serve", f"{SERVE}\nPARAMETERS = (200, {json.dumps(answer).encode()!r})\n{RUN}")
    model(platform)
    platform.put("s3://bucket/in/x", "x")
    transform(platform)
    ended(platform)
    assert any(told in line for line in lines(platform, "data-log"))


def test_the_request_wins_over_the_container(platform: Platform) -> None:
    answer = {"MaxConcurrentTransforms": 2, "MaxPayloadInMB": 4, "BatchStrategy": "SINGLE_RECORD"}
    platform.command("serve", f"{SERVE}\nPARAMETERS = (200, {json.dumps(answer).encode()!r})\n{RUN}")
    model(platform)
    platform.put("s3://bucket/in/x", "x")
    transform(platform, MaxConcurrentTransforms=0, MaxPayloadInMB=7, BatchStrategy="MultiRecord")
    ended(platform)
    told = "MaxConcurrentTransforms=2, MaxPayloadInMB=7, BatchStrategy=MULTI_RECORD"
    assert any(told in line for line in lines(platform, "data-log"))


def no_input(platform: Platform) -> str:
    return "No S3 objects found"


def no_model_data(platform: Platform) -> str:
    model(platform, ModelDataUrl="s3://bucket/none.tar.gz")
    platform.put("s3://bucket/in/x", "x")
    return "Could not find model data"


def no_output_bucket(platform: Platform) -> str:
    platform.put("s3://bucket/in/x", "x")
    (platform.config.s3_root / "bucket").rename(platform.config.s3_root / "other")
    return "S3OutputPath s3://bucket/out/: The specified bucket does not exist (NoSuchBucket)"


def no_image(platform: Platform) -> str:
    model(platform, Image="other")
    platform.put("s3://bucket/in/x", "x")
    return "No image 'other'"


def ends(platform: Platform) -> str:
    platform.command("serve", "print('no weights'); sys.exit(4)")
    platform.put("s3://bucket/in/x", "x")
    return "exit code 4. Last lines of its log: no weights"


@pytest.mark.parametrize("prepare", [no_input, no_model_data, no_output_bucket, no_image, ends])
def test_a_job_that_cannot_begin_says_why(served: Platform, prepare: Callable[[Platform], str]) -> None:
    says = prepare(served)
    transform(served)
    assert says in ended(served, "Failed")["FailureReason"]
    assert outputs(served) == {}


def test_stopping_ends_the_container_and_leaves_no_output(served: Platform) -> None:
    served.put("s3://bucket/in/a", "a")
    served.put("s3://bucket/in/b", "sleep")
    others = psutil.Process().children(recursive=True)
    transform(served)
    written = served.object("s3://bucket/out/a.out")
    served.log_line("request b'sleep'", "job", GROUP)
    deadline = time.monotonic() + 10
    while not written.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert written.read_bytes() == b"A"
    containers = set(psutil.Process().children(recursive=True)) - set(others)
    assert containers
    served.engine.stop("transform-job", "job")
    assert served.store.get("transform-job", "job")["TransformJobStatus"] in ("Stopping", "Stopped")
    ended(served, "Stopped")
    assert outputs(served) == {}
    assert not [process for process in containers if process.is_running()]
    served.engine.stop("transform-job", "job")
    assert served.store.get("transform-job", "job")["TransformJobStatus"] == "Stopped"


def test_stopping_while_the_container_starts(platform: Platform) -> None:
    platform.command("serve", f"{SERVE}\nprint('request')\nPING = lambda: 503\n{RUN}")
    model(platform)
    platform.put("s3://bucket/in/x", "x")
    transform(platform)
    asked(platform)
    platform.engine.stop("transform-job", "job")
    ended(platform, "Stopped")


def test_the_end_of_the_service_stops_the_job(served: Platform) -> None:
    served.put("s3://bucket/in/x", "sleep")
    transform(served)
    asked(served)
    served.engine.close()
    ended(served, "Stopped")


def test_a_job_that_a_dead_service_left_behind_is_failed(stopped: Platform) -> None:
    for name, status in (("ran", "InProgress"), ("stopping", "Stopping"), ("done", "Completed")):
        doc = {"TransformJobName": name, "TransformJobStatus": status}
        stopped.store.put("transform-job", name, doc)
    stopped.start()
    statuses = [stopped.store.get("transform-job", name) for name in ("ran", "stopping", "done")]
    assert [doc["TransformJobStatus"] for doc in statuses] == ["Failed", "Failed", "Completed"]
    assert "Start it again" in statuses[0]["FailureReason"]


def test_the_model_may_be_deleted_once_the_job_is_created(served: Platform) -> None:
    served.put("s3://bucket/in/x", "x")
    transform(served)
    served.store.delete("model", "m")
    ended(served)


def test_a_model_that_cannot_be_served_fails_the_job(platform: Platform) -> None:
    model(platform, Mode="MultiModel")
    platform.put("s3://bucket/in/a", b"x")
    transform(platform)
    assert ended(platform, "Failed")["FailureReason"].startswith("ClientError: Model m has Mode MultiModel")
