"""The pages' addresses and what answers them."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from contract.errors import BAD_INPUT, NOT_FOUND, REFUSED, UNREACHABLE, ByocError
from report.pages.live import machines
from report.pages.render import CONFIG, vega_bundle
from scripts.web import actions, data, endpoint, forms, sources, tuning
from scripts.web.security import Guard, error_document
from scripts.web.session import Session
from scripts.web.stream import events
from scripts.web.values import Source, dump

log = logging.getLogger("byoc.web")

ASSETS: Final = Path(__file__).parents[2] / "report" / "web"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_STATUS: Final = {BAD_INPUT: 400, NOT_FOUND: 404, REFUSED: 403, UNREACHABLE: 503}
_LONGEST_FORM: Final = 200_000
# The report's own policy is in the page; in a frame it gets no cookie and no origin of ours.
_REPORT_POLICY: Final = "sandbox allow-scripts; frame-ancestors 'self'"
_PAGES: Final = ("/", "/training/{name}", "/tuning/{name}", "/endpoint/{name}", "/data", "/new/{kind}")
Answer = Callable[[Request], Awaitable[Response]]


class Web:
    """The application; `closing` ends all streams."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.activities = actions.Activities()
        self.closing = False

    def warm(self) -> None:
        """Read before somebody waits for it: the list, and the charts' library. What fails is said later."""
        with contextlib.suppress(Exception):
            self._source("jobs", "")().look()
        with contextlib.suppress(Exception):
            vega_bundle()

    # --- what is shown

    async def page(self, request: Request) -> Response:
        return HTMLResponse((ASSETS / "page.html.j2").read_text(encoding="utf-8"))

    async def asset(self, request: Request) -> Response:
        name = request.path_params["file"]
        path = ASSETS / name
        if name == "vega.js":
            content, kind = await run_in_threadpool(vega_bundle), _TYPES[".js"]
        elif path.suffix in _TYPES and path.parent == ASSETS and path.is_file():
            content, kind = path.read_text(encoding="utf-8"), _TYPES[path.suffix]
        else:
            return _error(ByocError(f"There is no file {name}.", code=NOT_FOUND, kind="NoFile"))
        return _kept(request, content, kind)

    def project(self, request: Request) -> Any:
        """What every page says: whose jobs these are, and where they run."""
        settings = self.session.settings
        return {
            "project": settings.project.name,
            "folder": settings.folder.resolve().name,
            "endpoint": settings.endpoint_name,
            "url": settings.aws.endpoint_url,
            "region": settings.aws.region,
            "machine": settings.deploy.instance_type,
            "train_machine": settings.train.instance_type,
            "charts": CONFIG,
        }

    def details(self, request: Request) -> Any:
        return sources.details(self.session, request.query_params.getlist("job")[:100])

    def report(self, request: Request) -> Response:
        """The report on a training or tuning job, for a frame and for a tab of its own."""
        from report.pages.job import job_page
        from report.pages.tuning import tuning_page
        from report.read import inputs
        from report.read.tuning import look, with_findings

        clients, name = self.session.clients, request.path_params["name"]
        if request.path_params["kind"] == "tuning":
            page = tuning_page(with_findings(clients, look(clients, name)))
        else:
            collected = inputs.collect(clients, name)
            machine, _ = machines(collected.describe.get("ResourceConfig", {}))
            # Without one on this machine, as `byoc report` draws it there.
            collected.price = (self.session.hourly(machine, "Training") if machine else None) or None
            page = job_page(collected)
        content = page.encode("utf-8", errors="replace")
        return HTMLResponse(content, headers={"Content-Security-Policy": _REPORT_POLICY})

    def log(self, request: Request) -> Response:
        """The whole log of a training job or an endpoint as text."""
        from contract.names import ENDPOINT_LOGS, TRAINING_LOGS
        from report.read.logs import LogTail

        name = request.path_params["name"]
        groups = {"training": (TRAINING_LOGS, f"{name}/"), "endpoint": (f"{ENDPOINT_LOGS}/{name}", "")}
        if (kind := request.path_params["kind"]) not in groups:
            raise ByocError(f"There are no logs of a {kind}.", code=NOT_FOUND, kind="NoLog")
        lines = LogTail(self.session.clients, *groups[kind]).read()
        return PlainTextResponse("\n".join(lines).encode("utf-8", "replace"))

    def form(self, request: Request) -> Any:
        return forms.form(self.session, request.path_params["kind"])

    def price(self, request: Request) -> Any:
        """Dollars for an hour of one machine, and where they are from."""
        machine, use = (request.query_params.get(key, "") for key in ("machine", "use"))
        price = self.session.price(machine, "Hosting" if use == "Hosting" else "Training")
        return {"hourly": price and price.hourly, "origin": price.origin if price else ""}

    def data(self, request: Request) -> Any:
        return data.document(self.session)

    def doubtful(self, request: Request) -> Any:
        return data.doubtful(self.session)

    def picture(self, request: Request) -> Response:
        content = data.picture(self.session, request.query_params.get("key", ""))
        headers = {"Cache-Control": "private, max-age=600"}
        return Response(content, media_type="image/png", headers=headers)

    # --- what is live

    def _source(self, kind: str, name: str) -> Callable[[], Source]:
        makers: dict[str, Callable[[], Source]] = {
            "jobs": lambda: sources.JobList(self.session),
            "training": lambda: sources.Training(self.session, name),
            "tuning": lambda: tuning.TuningSource(self.session, name),
            "endpoint": lambda: endpoint.EndpointSource(self.session, name, self.activities.about),
        }
        if kind not in makers:
            raise ByocError(f"There is nothing live of {kind}.", code=NOT_FOUND, kind="NoPage")
        return lambda: self.session.source(f"{kind}/{name}", makers[kind])

    async def live(self, request: Request) -> Response:
        make = self._source(request.path_params["kind"], request.path_params.get("name", ""))
        stream = events(self.session, make, lambda: self.closing)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    # --- what is done

    def train(self, request: Request, body: dict[str, Any]) -> Any:
        sets = forms.sets_of(_mapping(body, "set"))
        name, best_of = str(body.get("name", "")), str(body.get("best_of", ""))
        return actions.train(self.session, sets, name=name, best_of=best_of)

    def tune(self, request: Request, body: dict[str, Any]) -> Any:
        sets = forms.sets_of(_mapping(body, "set"))
        ranges = [f"{key}={text}" for key, text in _mapping(body, "ranges").items()]
        return actions.tune(self.session, sets, name=str(body.get("name", "")), ranges=ranges)

    def stop(self, request: Request, body: dict[str, Any]) -> Any:
        return actions.stop(self.session, _text(body, "name"))

    def deploy(self, request: Request, body: dict[str, Any]) -> Any:
        begun = actions.deploy(
            self.session,
            self.activities,
            _text(body, "job"),
            _text(body, "endpoint"),
            str(body.get("machine", "")),
            update=body.get("update") is True,
        )
        return begun.as_dict()

    def delete(self, request: Request, body: dict[str, Any]) -> Any:
        return actions.delete(self.session, self.activities, _text(body, "endpoint")).as_dict()

    async def predict(self, request: Request) -> Response:
        picture = await _body(request, endpoint.LARGEST + 1)
        kind = request.headers.get("content-type", "")
        explain = request.query_params.get("explain") == "1"
        answer = await run_in_threadpool(
            lambda: endpoint.classify(
                self.session.clients, request.path_params["name"], picture, kind, explain=explain
            )
        )
        return _json(answer)

    # --- how it hangs together

    def routes(self) -> list[Route]:
        def get(path: str, answer: Any) -> Route:
            return Route(path, self._answering(_threaded(answer)), methods=["GET"])

        def post(path: str, answer: Any) -> Route:
            return Route(path, self._answering(_posted(answer)), methods=["POST"])

        return [
            *(Route(path, self.page, methods=["GET"]) for path in _PAGES),
            Route("/assets/{file}", self._answering(self.asset), methods=["GET"]),
            get("/api/project", self.project),
            get("/api/details", self.details),
            get("/api/form/{kind}", self.form),
            get("/api/price", self.price),
            get("/api/data", self.data),
            get("/api/doubtful", self.doubtful),
            get("/api/picture", self.picture),
            get("/report/{kind}/{name}", self.report),
            get("/log/{kind}/{name}", self.log),
            Route("/live/{kind}", self._answering(self.live), methods=["GET"]),
            Route("/live/{kind}/{name}", self._answering(self.live), methods=["GET"]),
            post("/api/train", self.train),
            post("/api/tune", self.tune),
            post("/api/stop", self.stop),
            post("/api/deploy", self.deploy),
            post("/api/delete", self.delete),
            Route("/api/predict/{name}", self._answering(self.predict), methods=["POST"]),
        ]

    def _answering(self, answer: Answer) -> Answer:
        """With every error as a document of message and remedy."""

        async def answered(request: Request) -> Response:
            try:
                return await answer(request)
            except Exception as error:
                readable = self.session.readable(error)
                if readable.kind == "Unforeseen":
                    log.exception("%s failed", request.url.path)
                return _error(readable)

        return answered


def create_app(session: Session, token: str, port: int) -> tuple[Starlette, Web]:
    """The whole server behind its guard."""
    web = Web(session)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        web.closing = True

    guard = Middleware(Guard, token=token, port=port)
    # Server-sent events are not compressed by it: that would hold them back.
    app = Starlette(
        routes=web.routes(),
        middleware=[guard, Middleware(GZipMiddleware, minimum_size=2_000)],
        lifespan=lifespan,
    )
    return app, web


def _threaded(answer: Callable[[Request], Any]) -> Answer:
    async def respond(request: Request) -> Response:
        result = await run_in_threadpool(answer, request)
        return result if isinstance(result, Response) else _json(result)

    return respond


def _posted(answer: Callable[[Request, dict[str, Any]], Any]) -> Answer:
    async def respond(request: Request) -> Response:
        try:
            body = json.loads(await _body(request, _LONGEST_FORM))
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise ByocError("The request is no JSON object.", kind="BadForm")
        return _json(await run_in_threadpool(answer, request, body))

    return respond


async def _body(request: Request, most: int) -> bytes:
    """The body; of a longer one no more than is needed to see that it is."""
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > most:
            raise ByocError(f"The request is longer than {most:,} bytes.", "Send less.", kind="TooLarge")
    return content


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ByocError(f"The request has no {key}.", kind="BadForm")
    return value.strip()


def _mapping(body: dict[str, Any], key: str) -> dict[str, Any]:
    value = body.get(key, {})
    if not isinstance(value, dict):
        raise ByocError(f"The request's {key} is no JSON object.", kind="BadForm")
    return value


def _json(value: Any) -> Response:
    return Response(dump(value), media_type="application/json")


def _error(error: ByocError) -> JSONResponse:
    document = error_document(error.message, error.remedy, error.kind)
    return JSONResponse(document, status_code=_STATUS.get(error.code, 500))


def _kept(request: Request, content: str, kind: str) -> Response:
    """A file that the browser may keep, if it asks each time whether it is still the same."""
    import hashlib

    tag = f'"{hashlib.sha256(content.encode()).hexdigest()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)
