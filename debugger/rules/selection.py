"""Which tensors a rule looks at: `collection_names` and `tensor_regex`, their union where both are given."""

from __future__ import annotations

from debugger.observation import Kind, Observation, kind_of
from debugger.rules.rule import Rule


class Selection:
    """A rule's choice of tensors; `default` kinds (all where empty) where the user gave none.

    `collection` joins the rule's default regex, which names layers by how models usually call them.
    """

    def __init__(
        self,
        rule: Rule,
        *,
        regex: str = "tensor_regex",
        default: tuple[Kind, ...] = (),
        collection: str | None = None,
    ) -> None:
        self._patterns = rule.patterns(regex) if regex in rule.values else []
        names = rule.text("collection_names") if "collection_names" in rule.values else ""
        self._collections = [name.strip() for name in names.split(",") if name.strip()]
        if collection is not None and regex not in rule.chosen:
            self._collections.append(collection)
        self._default = default

    def names(self, step: Observation) -> list[str]:
        """The names of the step's tensors that are chosen, in order."""
        if not self._patterns and not self._collections:
            chosen = [name for name in step.tensors if not self._default or kind_of(name) in self._default]
        else:
            members = frozenset[str]().union(
                *(step.collections.get(name, frozenset()) for name in self._collections)
            )
            chosen = [
                name
                for name in step.tensors
                if name in members or any(pattern.search(name) for pattern in self._patterns)
            ]
        return sorted(chosen)
