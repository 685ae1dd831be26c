"""An AWS account in two halves: moto's IAM, ECR and STS, and the local SageMaker with its S3 and logs."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from moto.server import ThreadedMotoServer

_SCOPE = re.compile(r"Credential=[^/]*/\d{8}/[^/]*/(?P<service>[\w-]+)/aws4_request")
_OF_MOTO = ("iam", "ecr", "sts", "kms", "ec2", "cloudformation")
_TARGETS = {
    "SageMaker": "sagemaker",
    "Logs_": "logs",
    "AmazonEC2ContainerRegistry": "ecr",
    "AWSPriceListService": "pricing",
    "ResourceGroupsTaggingAPI": "resourcegroupstaggingapi",
    "ServiceQuotas": "service-quotas",
    "TrentService": "kms",
}
_HOP = ("connection", "transfer-encoding", "content-length", "server", "date")


@dataclass(frozen=True)
class Account:
    """Addresses of the whole account and of its half that moto is; and what `byoc` has asked."""

    url: str
    moto: str
    asked: list[tuple[str, str, dict[str, Any]]]
    """Service and operation as boto3 and AWS call them, and the request; not of S3."""


def asked(headers: Message, path: str, body: bytes) -> tuple[str, str, dict[str, Any]] | None:
    """What a request of `byoc` asks, where its service has one address for everything."""
    if "byoc" not in headers.get("User-Agent", ""):
        return None
    target = headers.get("X-Amz-Target", "")
    if target:
        prefix, _, operation = target.partition(".")
        service = next((name for begin, name in _TARGETS.items() if prefix.startswith(begin)), prefix)
        return service, operation, json.loads(body)
    if invoked := re.fullmatch(r"/endpoints/([^/]+)/invocations", path):
        return "sagemaker-runtime", "InvokeEndpoint", {"EndpointName": invoked[1]}
    form = {name: values[0] for name, values in parse_qs(body.decode("latin-1")).items()}
    scope = _SCOPE.search(headers.get("Authorization", ""))
    return (scope["service"], form["Action"], form) if scope and "Action" in form else None


@contextmanager
def account(local: str) -> Iterator[Account]:
    """Both halves behind one address.

    Args:
        local: address of the local SageMaker.
    """
    seen: list[tuple[str, str, dict[str, Any]]] = []
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto.start()
    half = "http://{}:{}".format(*moto.get_host_and_port())

    class Router(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if question := asked(self.headers, self.path, body):
                seen.append(question)
            scope = _SCOPE.search(self.headers.get("Authorization", ""))
            service = scope["service"] if scope else "s3"
            # moto has no simulator of policies; the local SageMaker allows everything.
            to_moto = service in _OF_MOTO and b"Action=SimulatePrincipalPolicy" not in body
            connection = http.client.HTTPConnection(urlsplit(half if to_moto else local).netloc, timeout=120)
            try:
                connection.request(self.command, self.path, body, dict(self.headers.items()))
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            self.send_header("Date", self.date_time_string())
            length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # a client that has all it wants does not say goodbye
                super().handle()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Router)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield Account(f"http://127.0.0.1:{server.server_port}", half, seen)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        moto.stop()
