"""What an operation is asked, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from local.s3.files import Incoming, Outgoing
from local.s3.incoming import Received

_SCOPE = re.compile(r"/\d{8}/([\w-]+)/s3/aws4_request")


@dataclass(frozen=True)
class Request:
    """`members`: by the API's names, the XML of the body among them; `headers`: with lower-case names."""

    members: Mapping[str, Any]
    headers: Mapping[str, str]

    @property
    def region(self) -> str:
        """Where the client means to be, by its signature; empty if it does not sign."""
        signed = self.headers.get("authorization", "") or self.headers.get("x-amz-credential", "")
        scope = _SCOPE.search(signed)
        return scope[1] if scope else ""

    @property
    def bucket(self) -> str:
        return str(self.members["Bucket"])

    @property
    def key(self) -> str:
        return str(self.members["Key"])


@dataclass(frozen=True)
class Reply:
    """`members`: of the operation's output; `status`: where it is not the operation's own."""

    members: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    outgoing: Outgoing | None = None


@dataclass(frozen=True)
class Receiving:
    """A body is wanted: it goes into `incoming`, and `done` is called with what has come."""

    incoming: Incoming
    done: Callable[[Received], Reply]


Handler = Callable[[Request], Reply | Receiving]
