"""AddTags, ListTags, DeleteTags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.api.control import Control, Request, arn_of, unique_tags
from local.config import ARN_TYPES
from local.errors import ValidationException
from local.protocol import Handler
from local.store import KINDS

_MOST_TAGS = 50


def handlers(control: Control) -> Mapping[str, Handler]:
    store = control.store

    def check(arn: str) -> None:
        """ValidationException unless the ARN is that of something in the store."""
        _, _, resource = arn.partition(f":{control.config.account}:")
        kind_in_arn, _, name = resource.partition("/")
        for kind in KINDS:
            if ARN_TYPES.get(kind) != kind_in_arn:
                continue
            for other in store.names(kind):
                doc = store.get(kind, other) if other.lower() == name.lower() else None
                if doc is not None and arn_of(kind, doc) == arn.lower():
                    return
        raise ValidationException(
            f'Could not find "{arn}": there is no {kind_in_arn or "resource"} {name!r}.'
        )

    def stored(arn: str) -> list[dict[str, str]]:
        doc = store.get("tags", arn.lower())
        return list(doc["Tags"]) if doc else []

    def add(request: Request) -> dict[str, Any]:
        arn = request["ResourceArn"]
        check(arn)
        merged = {tag["Key"]: tag for tag in [*stored(arn), *unique_tags(request["Tags"])]}
        if len(merged) > _MOST_TAGS:
            raise ValidationException(f"A resource has at most {_MOST_TAGS} tags; {arn} would have more.")
        store.put("tags", arn.lower(), {"Tags": list(merged.values())})
        return {"Tags": list(merged.values())}

    def list_(request: Request) -> dict[str, Any]:
        check(request["ResourceArn"])
        # 50 at most, which is the smallest page that may be asked for.
        return {"Tags": stored(request["ResourceArn"])}

    def delete(request: Request) -> None:
        arn = request["ResourceArn"]
        check(arn)
        left = [tag for tag in stored(arn) if tag["Key"] not in request["TagKeys"]]
        store.put("tags", arn.lower(), {"Tags": left})

    return {"AddTags": add, "ListTags": list_, "DeleteTags": delete}
