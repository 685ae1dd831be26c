"""FastAPI with what makes a forward pass fast: frozen weights, one thread, decoding at reduced scale."""

import os
from pathlib import Path

import torch
from fastapi import FastAPI, Request
from fastapi.responses import Response

from serve import answer, job, request, settings
from serve.classifier import Classifier

torch.set_num_threads(1)
classifier = Classifier.load(Path(os.environ["BENCH_MODEL"]), "cpu")
limits = settings.Limits()
app = FastAPI()


@app.get("/ping")
def ping():
    return {}


@app.post("/invocations")
async def invoke(incoming: Request):
    pixels = job.decode(await incoming.body(), classifier.preprocessing, limits)
    row = classifier.probabilities([pixels])[0]
    ranking = answer.rank(row, classifier.classes, request.Options(5))
    body = answer.render([answer.document(ranking, classifier.model)], False, answer.JSON)
    return Response(body, media_type="application/json")
