"""AddTags, ListTags, DeleteTags."""

from __future__ import annotations

from typing import Any

from local.api.control import Control, Request, arn_of, unique_tags
from local.config import ARN_TYPES
from local.errors import ValidationException
from local.store import KINDS

_MOST_TAGS = 50


class Tags(Control):
    def AddTags(self, request: Request) -> dict[str, Any]:
        arn = request["ResourceArn"]
        self._check(arn)
        merged = {tag["Key"]: tag for tag in [*self._stored(arn), *unique_tags(request["Tags"])]}
        if len(merged) > _MOST_TAGS:
            raise ValidationException(f"A resource has at most {_MOST_TAGS} tags; {arn} would have more.")
        self.store.put("tags", arn.lower(), {"Tags": list(merged.values())})
        return {"Tags": list(merged.values())}

    def ListTags(self, request: Request) -> dict[str, Any]:
        self._check(request["ResourceArn"])
        # 50 at most, which is the smallest page that may be asked for.
        return {"Tags": self._stored(request["ResourceArn"])}

    def DeleteTags(self, request: Request) -> None:
        arn = request["ResourceArn"]
        self._check(arn)
        left = [tag for tag in self._stored(arn) if tag["Key"] not in request["TagKeys"]]
        self.store.put("tags", arn.lower(), {"Tags": left})

    def _stored(self, arn: str) -> list[dict[str, str]]:
        doc = self.store.get("tags", arn.lower())
        return list(doc["Tags"]) if doc else []

    def _check(self, arn: str) -> None:
        """ValidationException unless the ARN is that of something in the store."""
        _, _, resource = arn.partition(f":{self.config.account}:")
        kind_in_arn, _, name = resource.partition("/")
        for kind in KINDS:
            if ARN_TYPES.get(kind) != kind_in_arn:
                continue
            for other in self.store.names(kind):
                doc = self.store.get(kind, other) if other.lower() == name.lower() else None
                if doc is not None and arn_of(kind, doc) == arn.lower():
                    return
        raise ValidationException(
            f'Could not find "{arn}": there is no {kind_in_arn or "resource"} {name!r}.'
        )
