"""FastAPI: a process a core, one thread each."""

from fastapi import FastAPI, Request
from fastapi.responses import Response
from pipeline import Pipeline

pipeline = Pipeline()
app = FastAPI()


@app.get("/ping")
def ping():
    return {}


@app.post("/invocations")
async def invoke(incoming: Request):
    return Response(pipeline(await incoming.body()), media_type="application/json")
