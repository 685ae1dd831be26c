"""One request on its way: what was asked, its pictures, and in the end status, type and body."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from contract.pictures import FORMATS
from model import images
from model.artifact import ArtifactError
from serve import answer, models, request, s3
from serve.classifier import Classifier
from serve.engine import Pixels
from serve.errors import RequestError, ServeError
from serve.explain import CannotExplain
from serve.settings import Limits

log = logging.getLogger(__name__)
_REQUEST_TO_PICTURE = 5  # the pixel limit of all pictures of a request, in limits of one picture
_OURS = "this is a fault of the server, and is in its log"


class Job:
    """`pixels` wait for their probabilities from `classifier`; the last four attributes are the answer."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.classifier: Classifier | None = None
        self.pixels: list[Pixels] = []
        self.asked: request.Request | None = None
        self.status, self.media_type, self.body, self.pictures = 200, answer.JSON, b"", 0

    @classmethod
    def prepare(
        cls,
        body: bytes | None,
        headers: Mapping[str, str],
        choose: Callable[[Mapping[str, str]], Classifier],
        limits: Limits,
    ) -> Job:
        """Find the model, take the request apart, decode. Whatever goes wrong is the job's answer."""
        job = cls(limits)
        try:
            job.classifier = choose(headers)
            if models.LOAD not in headers:
                job._parse(bytes(body or b""), headers)
        except RequestError as error:
            job.fail(error.code, str(error))
        except MemoryError as error:
            job.fail(507, str(error) or "there is not enough memory for this request")
        except (ArtifactError, ServeError, OSError) as error:
            log.error("%s", error)
            loading = models.LOAD in headers
            job.fail(422 if loading else 500, f"the model cannot be loaded: {error}")
        except Exception:
            log.exception("a request could not be read")
            job.fail(500, f"the request could not be read; {_OURS}")
        return job

    def _parse(self, body: bytes, headers: Mapping[str, str]) -> None:
        assert self.classifier is not None
        limits = self.limits
        asked = request.parse(body, headers, limits)
        self.media_type = answer.choose(headers.get("accept", ""))
        if asked.options.explain and self.media_type == answer.CSV:
            raise RequestError(406, f"explain puts a picture into the answer; accept {answer.JSON} for it")
        decoding = self.classifier.preprocessing
        pixels = 0

        def count(picture: bytes) -> None:
            nonlocal pixels
            pixels += check_size(picture, limits)
            if pixels > _REQUEST_TO_PICTURE * limits.pixels:
                raise RequestError(413, f"up to here the request has {pixels} pixels; send less at once")

        for number, picture in enumerate(asked.pictures):  # before the first is decoded
            with _named(number, asked.many):
                if isinstance(picture, bytes):
                    count(picture)
        for number, picture in enumerate(asked.pictures):
            with _named(number, asked.many):
                if isinstance(picture, s3.Object):
                    picture = picture.read(limits)
                    count(picture)
                self.pixels.append(decode(picture, decoding, limits))
        self.asked, self.pictures = asked, len(self.pixels)

    def finish(self, scores: Sequence[np.ndarray[Any, Any]]) -> None:
        """`scores`: probabilities [classes] for each of `pixels`."""
        if self.asked is None or self.classifier is None:
            return
        if not all(np.isfinite(row).all() for row in scores):
            self.fail(500, "the model gave no finite probabilities for this picture")
            return
        try:
            self._answer(self.asked, self.classifier, scores)
        except CannotExplain as error:
            self.fail(400, f"explain: {error}")
        except RequestError as error:
            self.fail(error.code, str(error))
        except Exception:
            log.exception("an answer could not be given")
            self.fail(500, f"the answer could not be given; {_OURS}")

    def _answer(
        self, asked: request.Request, classifier: Classifier, scores: Sequence[np.ndarray[Any, Any]]
    ) -> None:
        options = asked.options
        ranked = [answer.rank(row, classifier.classes, options) for row in scores]
        documents = [answer.document(ranking, classifier.model) for ranking in ranked]
        if options.explain:
            for document, pixels, row in zip(documents, self.pixels, scores, strict=True):
                document["explanation"] = classifier.explain(pixels, int(row.argmax()))
        self.body = answer.render(documents, asked.many, self.media_type)
        if len(self.body) > self.limits.answer:
            raise RequestError(
                413,
                f"the answer would have {len(self.body)} bytes; ask for fewer classes or pictures at once",
            )

    def fail(self, code: int, message: str) -> None:
        self.pixels, self.asked, self.pictures = [], None, 0
        self.status, self.media_type, self.body = code, answer.JSON, answer.error(code, message)


@contextlib.contextmanager
def _named(number: int, many: bool) -> Iterator[None]:
    """A mistake says which picture of the list has it."""
    try:
        yield
    except RequestError as error:
        raise RequestError(error.code, f"picture {number}: {error}" if many else str(error)) from error


def decode(picture: bytes | request.Array, preprocessing: Any, limits: Limits) -> Pixels:
    """One picture as the trainer's evaluation sees it. Raises RequestError 422."""
    try:
        if isinstance(picture, np.ndarray):
            pixels: Pixels = preprocessing.to_uint8(Image.fromarray(picture))
            return pixels
        pixels = preprocessing.to_uint8(images.decode(picture, preprocessing.min_side, limits.pixels))
    except images.BadImage as error:
        raise RequestError(422, str(error)) from error
    return pixels


def check_size(data: bytes, limits: Limits) -> int:
    """Pixels, by the header only; 0 for what decoding refuses. Raises RequestError 413."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            width, height = header.size
    except Exception:
        return 0
    request.check_size(width, height, limits)
    return width * height
