"""Search: training jobs, tuning jobs and endpoints by what they are, used and reached."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from botocore.model import StructureShape

from local import pagetokens
from local.api.control import Control, Request, arn_of
from local.api.expressions import compile_expression, find_property, ordered
from local.api.listing import DEFAULT_PAGE
from local.errors import ValidationException
from local.protocol import service_model
from local.store import Document

# Resource → the store's kind. AWS's enum has no transform jobs.
_KINDS = {
    "TrainingJob": "training-job",
    "HyperParameterTuningJob": "tuning-job",
    "Endpoint": "endpoint",
}


class Search(Control):
    def Search(self, request: Request) -> dict[str, Any]:
        resource = request["Resource"]
        if resource not in _KINDS:
            raise ValidationException(
                f"Resource {resource}: the local SageMaker searches {', '.join(_KINDS)} only."
            )
        if request.get("VisibilityConditions"):
            raise ValidationException(
                "VisibilityConditions: the local SageMaker shows everything to everybody; filter by Tags.KEY."
            )
        shape = _shape(resource)
        matches = (
            compile_expression(shape, request["SearchExpression"])
            if "SearchExpression" in request
            else lambda _: True
        )
        by = find_property(shape, request.get("SortBy", "LastModifiedTime"))
        # Nothing is shared by other accounts.
        own = request.get("CrossAccountFilterOption", "SameAccount") == "SameAccount"
        matching = [record for record in self._records(_KINDS[resource]) if matches(record)] if own else []
        records = ordered(matching, by, descending=request.get("SortOrder", "Descending") == "Descending")
        refusal = ValidationException(
            "Invalid NextToken: pass the one of the answer before, with the same search."
        )
        size, token = request.get("MaxResults", DEFAULT_PAGE), request.get("NextToken") or None
        shown, token = pagetokens.page(records, size, token, refusal)
        return {
            "Results": [{resource: record} for record in shown],
            "NextToken": token,
            "TotalHits": {"Value": len(records), "Relation": "EqualTo"},
        }

    def _records(self, kind: str) -> Iterator[Document]:
        for doc in self.store.each(kind):
            tags = self.store.get("tags", arn_of(kind, doc)) or {"Tags": []}
            yield {"LastModifiedTime": doc.get("CreationTime"), **doc, "Tags": tags["Tags"]}


def _shape(resource: str) -> StructureShape:
    record = service_model("sagemaker").shape_for("SearchRecord")
    assert isinstance(record, StructureShape)
    shape = record.members[resource]
    assert isinstance(shape, StructureShape)
    return shape
