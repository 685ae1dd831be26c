"""BentoML: a process a worker; the body of a request is a file."""

from pathlib import Path
from typing import Annotated

import bentoml
from bentoml.validators import ContentType
from pipeline import WORKERS, Pipeline


@bentoml.service(workers=WORKERS, traffic={"timeout": 60})
class Classify:
    def __init__(self):
        self._pipeline = Pipeline()

    @bentoml.api(route="/invocations")
    def classify(
        self, picture: Annotated[Path, ContentType("image/jpeg")], /
    ) -> Annotated[bytes, ContentType("application/json")]:
        return self._pipeline(picture.read_bytes())
