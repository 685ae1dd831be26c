"""STS, IAM, KMS, EC2 and ECR's control API, answered by moto in this process.

moto keeps everything in memory. Requests that change something are written down and sent to it again when
the service starts, so roles and repositories outlive a restart (their generated ids and dates are new).
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode
from xml.sax.saxutils import escape

from local.config import ROLE_NAME, Config
from local.errors import InternalFailure, UnknownOperationException
from local.protocol import Answer
from local.refusal import refuse

log = logging.getLogger(__name__)

SERVICES = ("sts", "iam", "ecr", "kms", "ec2")

# Operations that change nothing, by the beginning of their names.
_READS = ("Get", "List", "Describe", "Batch", "Simulate", "Generate", "Assume", "Decode")
_ACCESS_KEY = re.compile(r"Credential=(\w+)/")
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
    region: str = ""  # the client's; the service's where there is none

    @property
    def operation(self) -> str:
        target = self.headers.get("x-amz-target", "")
        if target:
            return target.rpartition(".")[2]
        return self.form("Action")

    @property
    def access_key(self) -> str:
        """The key that the request is signed with; empty where it is not."""
        match = _ACCESS_KEY.search(self.headers.get("authorization", ""))
        return match[1] if match else ""

    def form(self, name: str) -> str:
        """A parameter of the query protocol; empty where there is none."""
        return parse_qs(self.body.decode("latin-1")).get(name, [""])[0]


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
        if (call.service, call.operation) == ("iam", "SimulatePrincipalPolicy"):
            return _allow(call)  # moto does not have it, and nothing is forbidden here
        try:
            answer = self._send(self._load(), call)
            if answer.status == 404 and (call.service, call.operation) == ("iam", "GetRole"):
                # Jobs may run under any role: from here on it is there.
                self.call(_create_role(call.form("RoleName")))
                answer = self._send(self._load(), call)
        except NotImplementedError:
            answer = Answer(501)
        except Exception as error:
            log.exception("%s of %s failed", call.operation, call.service)
            text = (
                f"The local SageMaker failed in {call.operation} of {call.service} ({type(error).__name__})"
            )
            return refuse(
                call.service, call.headers, InternalFailure(f"{text}; its own log has the details.")
            )
        if answer.status >= 500 or (answer.status >= 400 and not answer.body):
            text = (
                f"The local SageMaker does not have {call.operation or 'this operation'} of {call.service}."
            )
            return refuse(call.service, call.headers, UnknownOperationException(text))
        if answer.status < 300 and call.operation and not call.operation.startswith(_READS):
            self._write_down(call)
        return answer

    def _load(self) -> Any:
        with self._lock:
            if self._client is None:
                # Read when moto is imported; and the user's own profile is nothing to it.
                os.environ["MOTO_ACCOUNT_ID"] = self._config.account
                os.environ.update(
                    dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
                )
                for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
                    os.environ.pop(name, None)
                from moto.server import DomainDispatcherApplication, create_backend_app
                from werkzeug.test import Client

                logging.getLogger("werkzeug").setLevel(logging.ERROR)
                client = Client(DomainDispatcherApplication(create_backend_app))
                for call in [_create_role(ROLE_NAME), *self._written_down()]:
                    self._send(client, call)
                self._client = client
            return self._client

    def _send(self, client: Any, call: Call) -> Answer:
        # moto finds the service in the credential's scope; signatures are not checked.
        region = call.region or self._config.region
        scope = f"{region}/{call.service}/aws4_request"
        # Who has assumed a role is known by the key that AssumeRole gave; everything else is one account's.
        key = call.access_key if call.operation == "GetCallerIdentity" else ""
        headers = {
            **{name: value for name, value in call.headers.items() if name not in _DROPPED},
            "authorization": f"AWS4-HMAC-SHA256 Credential={key or 'LOCAL'}/20000101/{scope}, "
            "SignedHeaders=host, Signature=none",
            "host": f"{call.service}.{region}.amazonaws.com",
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

    def _write_down(self, call: Call) -> None:
        entry = {
            "service": call.service,
            "method": call.method,
            "path": call.path,
            "region": call.region,
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


def _create_role(name: str) -> Call:
    form = {
        "Action": "CreateRole",
        "Version": "2010-05-08",
        "RoleName": name,
        "AssumeRolePolicyDocument": json.dumps(_TRUST),
        "Description": "The local SageMaker's execution role",
    }
    return Call("iam", "POST", "/", urlencode(form).encode(), _FORM)


def _allow(call: Call) -> Answer:
    """SimulatePrincipalPolicy: every action that is asked about is allowed."""
    form = parse_qs(call.body.decode("latin-1"))
    actions = [values[0] for name, values in sorted(form.items()) if name.startswith("ActionNames.")]
    results = "".join(
        f"<member><EvalActionName>{escape(action)}</EvalActionName><EvalResourceName>*</EvalResourceName>"
        "<EvalDecision>allowed</EvalDecision></member>"
        for action in actions
    )
    body = (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        "<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated>"
        f"<EvaluationResults>{results}</EvaluationResults></SimulatePrincipalPolicyResult>"
        "<ResponseMetadata><RequestId>local</RequestId></ResponseMetadata></SimulatePrincipalPolicyResponse>"
    )
    return Answer(200, body.encode(), {"content-type": "text/xml"})


_FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
_DROPPED = ("authorization", "host", "content-length", "transfer-encoding", "expect", "connection")
