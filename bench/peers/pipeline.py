"""What the peers compute: our decoding and OpenVINO, so that only the servers differ."""

import os
from pathlib import Path

from serve import answer, job, request, settings
from serve.classifier import Classifier

WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
PORT = int(os.environ.get("BENCH_PORT", "8000"))


class Pipeline:
    """From a picture's bytes to the JSON of its best five classes."""

    def __init__(self):
        numbers = os.environ.get("BENCH_PRECISION", "auto")
        self._classifier = Classifier.load(Path(os.environ["BENCH_MODEL"]), "cpu", numbers=numbers)
        self._limits = settings.Limits()

    def __call__(self, body):
        classifier = self._classifier
        pixels = job.decode(body, classifier.preprocessing, self._limits)
        row = classifier.probabilities([pixels])[0]
        ranking = answer.rank(row, classifier.classes, request.Options(5))
        return answer.render([answer.document(ranking, classifier.model)], False, answer.JSON)
