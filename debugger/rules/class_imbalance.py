"""ClassImbalance: classes that are rare in the training batches, or always mistaken."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from debugger.observation import Array, Observation
from debugger.rules.rule import Plan, Rule

MAX_CLASSES = 100_000
LEARNED = 0.2  # of all pictures mistaken: the rest of the task is learned
LEAST_OF_A_CLASS = 3  # fewer pictures say nothing about a class


class ClassImbalance(Rule):
    """Fires after `samples` labels when the largest class is `threshold_imbalance` times the smallest, or
    when more than `threshold_misprediction` of a class is mistaken.

    Without regexes of the user's it also looks at what this project's loss saves: `…Loss_input_1` (labels)
    and `…Loss_input_0` (scores, of which the largest counts). Mistakes are counted over every `samples`
    labels; a class is named when most of it is mistaken twice in a row while at least 80 % of all are right,
    because at the start everything is mistaken.
    """

    name = "ClassImbalance"
    needs = "labels and predictions: add a collection with include_regex '.*Loss_input' (losses of that step)"

    def __init__(self, raw: Mapping[str, object] | None = None, plan: Plan | None = None) -> None:
        super().__init__(raw, plan)
        self._labels = self.patterns("labels_regex")
        self._predictions = self.patterns("predictions_regex")
        if "labels_regex" not in self.chosen:
            self._labels.append(re.compile("Loss_input_1$"))
        if "predictions_regex" not in self.chosen:
            self._predictions.append(re.compile("Loss_input_0$"))
        self._counts: Array = np.zeros(0, dtype=np.int64)
        self._recent: list[tuple[Array, Array]] = []
        self._reported: set[str] = set()
        self._suspects: frozenset[int] = frozenset()
        self._mixed = 0  # steps

    def observe(self, step: Observation) -> None:
        if step.mode == "EVAL":
            return
        labels = _first(step, self._labels)
        if labels is not None and labels.dtype.kind == "f" and labels.ndim == 2:
            self._mixed += 1
        if labels is None or labels.dtype.kind not in "iu" or labels.size == 0:
            return
        labels = labels.ravel()
        if int(labels.min()) < 0 or int(labels.max()) >= MAX_CLASSES:
            return
        counts = np.bincount(labels)
        if counts.size > self._counts.size:
            self._counts = np.pad(self._counts, (0, counts.size - self._counts.size))
        self._counts[: counts.size] += counts
        self.seen += int(labels.size)
        predictions = _first(step, self._predictions)
        if predictions is not None:
            if predictions.ndim > 1 and (bool(self.values["argmax"]) or predictions.shape[-1] > 1):
                predictions = predictions.argmax(axis=-1)
            if predictions.size == labels.size:
                self._recent.append((labels, predictions.ravel()))
        if self.seen >= self.integer("samples"):
            self._judge_counts(step.step)
        if sum(pair[0].size for pair in self._recent) >= self.integer("samples"):
            self._judge_mistakes(step.step)
            self._recent.clear()

    def _judge_counts(self, step: int) -> None:
        smallest, largest = int(self._counts.argmin()), int(self._counts.argmax())
        few, many = int(self._counts[smallest]), int(self._counts[largest])
        if many <= self.number("threshold_imbalance") * few or "counts" in self._reported:
            return
        self._reported.add("counts")
        self.add(
            step=step,
            severity="high" if few == 0 else "medium",
            message=f"Class {smallest} came up {few} times and class {largest} {many} times in {self.seen} "
            f"training pictures: more than {self.number('threshold_imbalance'):g} to 1.",
            cause="The folders of the classes hold very different numbers of pictures.",
            remedy="Collect more of the rare classes, sample them more often, or weight the loss by class.",
        )

    def _judge_mistakes(self, step: int) -> None:
        labels = np.concatenate([pair[0] for pair in self._recent])
        wrong = labels != np.concatenate([pair[1] for pair in self._recent]).astype(np.int64)
        limit = self.number("threshold_misprediction")
        # Where everything is mistaken, as at the start of a training, no class is worse off than the others.
        suspects = {}
        if float(wrong.mean()) <= LEARNED:
            for label in np.unique(labels):
                chosen = labels == label
                if int(chosen.sum()) >= LEAST_OF_A_CLASS and float(wrong[chosen].mean()) > limit:
                    suspects[int(label)] = (float(wrong[chosen].mean()), int(chosen.sum()))
        for label, (share, count) in suspects.items():
            if label not in self._suspects or str(label) in self._reported:
                continue
            self._reported.add(str(label))
            self.add(
                step=step,
                tensor=f"class {label}",
                message=f"{share:.0%} of the newest {count} training pictures of class {label} are mistaken "
                f"(limit {limit:.0%}), while {1 - float(wrong.mean()):.0%} of all are right.",
                cause="Too few pictures of this class, wrong labels, or a class that looks like another.",
                remedy="Look at the class's pictures and at the confusion matrix; weight or sample it more.",
            )
        self._suspects = frozenset(suspects)

    def undecided(self) -> str:
        if self._mixed and self.seen < self.integer("samples"):
            return (
                f"the labels of {self._mixed} saved steps are mixtures of several classes (mixup), which "
                f"cannot be counted; of pictures with one class there were {self.seen}, and it takes "
                f"{self.integer('samples')}: train without mixup to have them judged"
            )
        if not self.seen or self.seen >= self.integer("samples"):
            return super().undecided()
        return (
            f"the labels of {self.seen} pictures were saved, and it takes {self.integer('samples')}: train "
            "longer, save them more often (save_interval), or lower samples"
        )

    def summary(self) -> str:
        if not self.seen:
            return "No labels were seen."
        few, many = int(self._counts.min()), int(self._counts.max())
        return (
            f"{self.seen} training labels of {self._counts.size} classes: the rarest class came up {few} "
            f"times, the most frequent {many} times (limit {self.number('threshold_imbalance'):g} to 1)."
        )


def _first(step: Observation, patterns: list[re.Pattern[str]]) -> Array | None:
    for name in sorted(step.tensors):
        values = step.tensors[name].values
        if values is not None and any(pattern.search(name) for pattern in patterns):
            return values
    return None
