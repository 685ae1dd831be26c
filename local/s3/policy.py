"""The policy of a form: "POST Policy" of the S3 API Reference."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from local.s3.errors import S3Error

# Fields that need no condition, beside those of which the name begins with x-ignore-.
_FREE = ("x-amz-signature", "signature", "awsaccesskeyid", "policy")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NOT_JSONS = {"$": "$", "v": "\\u000b"}  # escapes that policies have beside those of JSON


class Policy:
    """What a form may upload."""

    def __init__(self, text: str) -> None:
        """`text`: the form's field. S3Error for what is no policy."""
        try:
            decoded = base64.b64decode(text, validate=True).decode()
            document = json.loads(_ESCAPE.sub(lambda found: _NOT_JSONS.get(found[1], found[0]), decoded))
        except (ValueError, RecursionError):
            raise _invalid("Invalid JSON.") from None
        if not isinstance(document, dict):
            raise _invalid("Invalid JSON.")
        self._end = _time(document.get("expiration"))
        self._conditions: list[tuple[str, str, str]] = []
        self.smallest, self.largest = 0, 2**63  # bytes of the file
        conditions = document.get("conditions")
        if not isinstance(conditions, list):
            raise _invalid("Policy missing conditions.")
        for condition in conditions:
            self._read(condition)

    def _read(self, condition: Any) -> None:
        if isinstance(condition, dict):
            for name, value in condition.items():
                self._add("eq", name, value)
            return
        if not isinstance(condition, list) or len(condition) != 3 or not isinstance(condition[0], str):
            raise _invalid("Invalid condition: it is an object or a list of three.")
        kind, first, second = condition[0].lower(), condition[1], condition[2]
        if kind == "content-length-range":
            try:
                self.smallest, self.largest = max(self.smallest, int(first)), min(self.largest, int(second))
            except (TypeError, ValueError, OverflowError):
                raise _invalid("Invalid content-length-range: its bounds are numbers.") from None
        elif kind in ("eq", "starts-with") and isinstance(first, str) and first.startswith("$"):
            self._add(kind, first[1:], second)
        else:
            raise _invalid(f"Invalid condition: {json.dumps(condition)[:200]}.")

    def _add(self, kind: str, name: str, value: Any) -> None:
        if not isinstance(value, str):
            raise _invalid(f"Invalid condition: the value of {name[:100]} is a string.")
        self._conditions.append((kind, name, value))

    def check(self, fields: Mapping[str, str]) -> None:
        """S3Error 403 if a form with these fields, their names in lower case, is not to be accepted."""
        if datetime.now(UTC) > self._end:
            raise _denied("Policy expired.")
        for kind, name, value in self._conditions:
            if not _holds(kind, name.lower(), value, fields.get(name.lower())):
                condition = json.dumps([kind, f"${name}", value], ensure_ascii=False)
                raise _denied(f"Policy Condition failed: {condition}")
        covered = {name.lower() for _, name, _ in self._conditions}
        extra = [
            name
            for name in fields
            if name not in covered and name not in _FREE and not name.startswith("x-ignore-")
        ]
        if extra:
            raise _denied(f"Extra input fields: {', '.join(extra)}")

    def check_size(self, size: int, *, complete: bool) -> None:
        """S3Error if the file must not have `size` bytes, or more where it is not `complete`."""
        if size > self.largest:
            raise S3Error(
                400,
                "EntityTooLarge",
                "Your proposed upload exceeds the maximum allowed size",
                ProposedSize=size,
                MaxSizeAllowed=self.largest,
            )
        if complete and size < self.smallest:
            raise S3Error(
                400,
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                ProposedSize=size,
                MinSizeAllowed=self.smallest,
            )


def _holds(kind: str, name: str, expected: str, value: str | None) -> bool:
    if value is None:
        return False
    if kind == "eq":
        return value == expected
    # A list of types: each of them.
    values = value.split(",") if name == "content-type" else [value]
    return all(each.strip().startswith(expected) for each in values)


def _time(text: Any) -> datetime:
    try:
        end = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise _invalid(f"Invalid 'expiration' value: '{str(text)[:100]}'") from None
    return end if end.tzinfo else end.replace(tzinfo=UTC)


def _invalid(why: str) -> S3Error:
    return S3Error(400, "InvalidPolicyDocument", f"Invalid Policy: {why}")


def _denied(why: str) -> S3Error:
    return S3Error(403, "AccessDenied", f"Invalid according to Policy: {why}")
