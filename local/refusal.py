"""Errors of services that are not there, each in its service's own protocol.

A request shows which that is: awsQuery and ec2Query send a form, RPC v2 CBOR says so, JSON names a target.
Of the REST services, those of XML are named here; all others speak JSON.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from xml.sax.saxutils import escape

from local.errors import AwsError, UnknownOperationException
from local.protocol import Answer, error_answer

_XML = {"content-type": "text/xml"}
_REST_XML = frozenset({"cloudfront", "route53", "s3", "s3express", "s3-outposts"})  # signing names


def refuse(service: str, headers: Mapping[str, str], error: AwsError) -> Answer:
    """`error` in the protocol that a request is written in.

    A 4xx, also where something has failed here: clients wait for a 5xx to pass.

    Args:
        service: the name that the request is signed for.
        headers: the request's, in lower case.
    """
    status = error.status if error.status < 500 else 400
    if headers.get("smithy-protocol") == "rpc-v2-cbor":
        body = b"\xa2" + b"".join(map(_cbor, ("__type", error.code, "message", error.message)))
        return Answer(status, body, {"content-type": "application/cbor", "smithy-protocol": "rpc-v2-cbor"})
    form = "form-urlencoded" in headers.get("content-type", "")
    if not form and service not in _REST_XML:
        answer = error_answer(error)
        return Answer(status, answer.body, answer.headers)
    code = "InvalidAction" if isinstance(error, UnknownOperationException) else error.code
    said = f"<Code>{code}</Code><Message>{escape(error.message)}</Message>"
    request = uuid.uuid4()
    if form and service == "ec2":
        text = f"<Response><Errors><Error>{said}</Error></Errors><RequestID>{request}</RequestID></Response>"
    elif service == "s3":
        text = f"<Error>{said}<RequestId>{request}</RequestId></Error>"
    else:
        text = (
            f"<ErrorResponse><Error><Type>Sender</Type>{said}</Error><RequestId>{request}</RequestId>"
            "</ErrorResponse>"
        )
    return Answer(status, text.encode(), _XML)


def _cbor(text: str) -> bytes:
    data = text.encode()[:0xFFFF]
    return b"\x79" + len(data).to_bytes(2, "big") + data
