"""Who may ask: a browser on this machine that has the token, for a page of this server.

Any web page that is open in the browser can send requests to 127.0.0.1. Four checks keep it out: the Host
header (a name that an attacker's DNS points at 127.0.0.1 is not ours), Sec-Fetch-Site and Origin (another
site, or another port of this machine, asks), and the token, which the address brings once and a cookie from
then on.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from html import escape
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; media-src 'self' blob:; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
_SAFE: Final = ("GET", "HEAD")
_UNAUTHORISED: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>byoc: the token is missing</title>
<main><h1>The token is missing</h1>
<p>Open the address that <code>byoc web</code> printed in the terminal: it ends with <code>?token=…</code>.
After a restart of <code>byoc web</code> it is another one.</p></main></html>"""


# A cookie that is SameSite=Strict does not go with a redirect when another page's link led here, as in a
# terminal that is a page itself; it goes with what this page of our own leads to.
_ONWARD: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta http-equiv="refresh" content="0;url={}"><title>byoc</title><p><a href="{}">To the page</a></p></html>"""


class Guard:
    """Middleware around the whole application.

    Args:
        token: what the address or the cookie has to bring.
        port: where this server listens.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = frozenset(hosts(port))
        # Cookies are the same for all ports of a host: each server has a name of its own.
        self._cookie = f"byoc-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there is none here
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", POLICY)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (refusal or self._app)(scope, receive, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """What is answered in place of the page; None for a request that is let in."""
        headers = Headers(scope=scope)
        if headers.get("host", "") not in self._hosts:
            return _refused(421, f"{headers.get('host', '')!r} is not this server's name.", "WrongHost")
        own = f"http://{headers['host']}"
        if scope["method"] not in _SAFE and headers.get("origin") != own:
            return _refused(403, f"A request of {headers.get('origin', 'nobody')!r} is refused.", "CrossSite")
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
        if site not in ("same-origin", "none") and mode != "navigate":
            return _refused(403, f"A request from another page ({site}) is refused.", "CrossSite")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if scope["method"] == "GET" and self._is_token(query.pop("token", "")):
            # The token leaves the address, which may be shown, copied and kept in the browser's history.
            clean = scope["path"] + (f"?{urlencode(query)}" if query else "")
            # A path of two slashes would lead to another host.
            clean = "/" + clean.lstrip("/")
            response: Response = RedirectResponse(clean, status_code=303)
            if site not in ("same-origin", "none"):
                onward = escape(response.headers["location"], quote=True)
                response = HTMLResponse(_ONWARD.format(onward, onward))
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
            return response
        if self._is_token(cookie_parser(headers.get("cookie", "")).get(self._cookie, "")):
            return None
        if "text/html" in headers.get("accept", "") and scope["method"] == "GET":
            return HTMLResponse(_UNAUTHORISED, status_code=401)
        return _refused(401, "The token is missing or is that of another start of `byoc web`.", "NoToken")

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())


def _refused(status: int, message: str, kind: str) -> JSONResponse:
    remedy = "Open the address that `byoc web` printed."
    return JSONResponse(error_document(message, remedy, kind), status_code=status)


def error_document(
    message: str, remedy: str, kind: str, details: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The body of every error of this server."""
    return {"error": {"message": message, "remedy": remedy, "kind": kind, **(details or {})}}


def hosts(port: int) -> list[str]:
    """What a browser on this machine may call the server."""
    ending = "" if port == 80 else f":{port}"  # browsers leave the usual one out
    return [f"{name}{ending}" for name in ("127.0.0.1", "localhost", "[::1]")]
