"""STS, IAM and ECR's control API, answered by moto in this process.

moto keeps everything in memory. Requests that change something are written down and sent to it again when
the service starts, so roles and repositories outlive a restart (their generated ids and dates are new).
"""

from __future__ import annotations

import base64
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

from local.config import ROLE_NAME, Config
from local.protocol import Answer

log = logging.getLogger(__name__)

SERVICES = ("sts", "iam", "ecr")

# Operations that change nothing, by the beginning of their names.
_READS = ("Get", "List", "Describe", "Batch", "Simulate", "Generate", "Assume", "Decode")
_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "sagemaker.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


@dataclass(frozen=True)
class Call:
    """One request as moto needs it."""

    service: str
    method: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def operation(self) -> str:
        target = self.headers.get("x-amz-target", "")
        if target:
            return target.rpartition(".")[2]
        return parse_qs(self.body.decode("latin-1")).get("Action", [""])[0]


class Fakes:
    """moto's server, loaded when it is first needed: that takes half a second."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._journal = config.home / "moto.jsonl"
        self._lock = threading.Lock()
        self._client: Any = None

    def warm_up(self) -> None:
        """Loads moto before somebody waits for it."""
        try:
            self._load()
        except Exception:
            log.exception("STS, IAM and ECR cannot be loaded")

    def call(self, call: Call) -> Answer:
        """Sends one request to moto, and writes it down if it changed something."""
        client = self._load()
        answer = self._send(client, call)
        if answer.status < 300 and call.operation and not call.operation.startswith(_READS):
            self._write_down(call)
        return answer

    def _load(self) -> Any:
        with self._lock:
            if self._client is None:
                # Read when moto is imported.
                os.environ["MOTO_ACCOUNT_ID"] = self._config.account
                from moto.server import DomainDispatcherApplication, create_backend_app
                from werkzeug.test import Client

                logging.getLogger("werkzeug").setLevel(logging.ERROR)
                client = Client(DomainDispatcherApplication(create_backend_app))
                for call in [self._create_role(), *self._written_down()]:
                    self._send(client, call)
                self._client = client
            return self._client

    def _send(self, client: Any, call: Call) -> Answer:
        # moto finds the service in the credential's scope; signatures are not checked.
        scope = f"{self._config.region}/{call.service}/aws4_request"
        headers = {
            **{name: value for name, value in call.headers.items() if name not in _DROPPED},
            "authorization": f"AWS4-HMAC-SHA256 Credential=LOCAL/20000101/{scope}, "
            "SignedHeaders=host, Signature=none",
            "host": f"{call.service}.{self._config.region}.amazonaws.com",
        }
        response = client.open(call.path, method=call.method, data=call.body, headers=headers)
        kept = {
            name.lower(): value
            for name, value in response.headers.items()
            if name.lower() not in ("content-length", "server", "date")
            and not name.lower().startswith("access-control-")
        }
        return Answer(response.status_code, response.get_data(), kept)

    # --- memory --------------------------------------------------------------------------------------

    def _create_role(self) -> Call:
        form = {
            "Action": "CreateRole",
            "Version": "2010-05-08",
            "RoleName": ROLE_NAME,
            "AssumeRolePolicyDocument": json.dumps(_TRUST),
            "Description": "The local SageMaker's execution role",
        }
        return Call("iam", "POST", "/", urlencode(form).encode(), _FORM)

    def _write_down(self, call: Call) -> None:
        entry = {
            "service": call.service,
            "method": call.method,
            "path": call.path,
            "body": base64.b64encode(call.body).decode(),
            "headers": {
                name: call.headers[name] for name in ("content-type", "x-amz-target") if name in call.headers
            },
        }
        with self._lock, self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _written_down(self) -> list[Call]:
        if not self._journal.is_file():
            return []
        calls = []
        text = self._journal.read_text(encoding="utf-8", errors="replace")
        if text and not text.endswith("\n"):
            with self._journal.open("a") as file:
                file.write("\n")  # what comes next is not to be damaged, too
        for number, line in enumerate(text.splitlines(), 1):
            try:
                entry = json.loads(line)
                entry["body"] = base64.b64decode(entry["body"])
                calls.append(Call(**entry))
            except (ValueError, TypeError, KeyError):
                # The last line, if the service was killed while it wrote.
                log.warning("%s, line %d is damaged and left out", self._journal, number)
        return calls


_FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
_DROPPED = ("authorization", "host", "content-length", "transfer-encoding", "expect", "connection")
