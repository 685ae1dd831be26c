"""Nobody but the page itself is let in."""

import pytest
from starlette.websockets import WebSocketDisconnect

from scripts.web.app import create_app
from scripts.web.session import Session
from tests.scripts.web.conftest import OWN, PORT, TOKEN, TestClient

COOKIE = f"byoc-{PORT}"


@pytest.fixture(autouse=True)
def _somewhere(project: object) -> None:
    """No byoc.toml of the developer's."""


def test_without_the_token_there_is_nothing(stranger: TestClient) -> None:
    for path in ("/", "/api/project", "/assets/app.js", "/live/jobs", "/report/training/a", "/nothing"):
        assert stranger.get(path).status_code == 401, path
    page = stranger.get("/", headers={"accept": "text/html"})
    assert page.status_code == 401
    assert "The token is missing" in page.text
    assert stranger.get("/api/project").json()["error"]["kind"] == "NoToken"


def test_a_wrong_token_is_refused(stranger: TestClient) -> None:
    assert stranger.get("/?token=wrong").status_code == 401
    assert stranger.get(f"/?token={TOKEN}x").status_code == 401
    assert stranger.get("/?token=").status_code == 401
    assert stranger.get("/?token=%ff%00").status_code == 401
    for cookie in (f"{COOKIE}=wrong", f"{COOKIE}=", f"byoc-9999={TOKEN}"):
        assert stranger.get("/", headers={"cookie": cookie}).status_code == 401


def test_the_token_becomes_a_cookie_and_leaves_the_address(stranger: TestClient) -> None:
    answer = stranger.get(f"/training/a?x=1&token={TOKEN}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/training/a?x=1"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert stranger.get("/").status_code == 200


def test_the_redirect_stays_here(stranger: TestClient) -> None:
    answer = stranger.get(f"http://127.0.0.1:{PORT}//evil.example/?token={TOKEN}")
    assert answer.headers["location"] == "/evil.example/"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        f"evil.example:{PORT}",
        "127.0.0.1",
        "127.0.0.1:80",
        f"127.0.0.1.evil.example:{PORT}",
        "",
    ],
)
def test_a_name_that_leads_here_is_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: the browser believes that 127.0.0.1 is evil.example, and would send its cookie there."""
    for path in ("/", "/api/project", f"/?token={TOKEN}"):
        assert client.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "[::1]"])
def test_this_machines_own_names_are_taken(stranger: TestClient, name: str) -> None:
    assert stranger.get(f"/?token={TOKEN}", headers={"host": f"{name}:{PORT}"}).status_code == 303


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:8766",
        f"https://127.0.0.1:{PORT}",
        f"http://localhost:{PORT}",
        "",
    ],
)
def test_other_origins_change_nothing(client: TestClient, origin: str) -> None:
    """A form or a script of another page, another port of this machine included."""
    for path in ("/api/train", "/api/tune", "/api/stop", "/api/deploy", "/api/delete", "/api/predict/a", "/"):
        answer = client.post(path, json={"name": "a"}, headers={"origin": origin})
        assert answer.status_code == 403, path
        assert answer.json()["error"]["kind"] == "CrossSite"


def test_a_post_without_an_origin_is_refused(client: TestClient) -> None:
    del client.headers["origin"]
    assert client.post("/api/stop", json={"name": "a"}).status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_need_the_origin_too(client: TestClient, method: str) -> None:
    assert client.request(method, "/api/stop", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.request(method, "/api/stop").status_code == 405


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_other_pages_read_nothing(client: TestClient, site: str) -> None:
    """Another port of this machine is the same site, so that it gets the cookie."""
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    for path in ("/api/project", "/assets/app.js", "/live/jobs"):
        assert client.get(path, headers=headers).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": site, "sec-fetch-mode": "navigate"}).status_code == 200


def test_every_answer_has_the_headers(client: TestClient, stranger: TestClient) -> None:
    for path in ("/", "/assets/app.js", "/api/nothing", "/?token=wrong"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "access-control-allow-origin" not in headers


def test_there_are_no_websockets(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/"):
        pass
    assert refused.value.code == 1008


def test_the_server_listens_on_this_machine_only() -> None:
    from scripts.web.server import bind

    with bind(None) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_taken_port_is_reported() -> None:
    from contract.errors import ByocError
    from scripts.web.server import bind

    with bind(None) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ByocError, match=str(port)):
            bind(port)


def test_the_policies_origin_is_the_tests(client: TestClient) -> None:
    assert client.post("/api/stop", json={}, headers={"origin": OWN}).status_code == 400


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_on_another_page_leads_in(stranger: TestClient, site: str) -> None:
    """A browser sends a strict cookie with no redirect that began there, as in a terminal that is a page."""
    headers = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    answer = stranger.get(f'/training/a"b?token={TOKEN}&x=%22%3E%3Cb', headers=headers)
    assert answer.status_code == 200
    assert "SameSite=strict" in answer.headers["set-cookie"]
    assert 'content="0;url=/training/a%22b?x=%22%3E%3Cb"' in answer.text
    assert TOKEN not in answer.text


def test_a_browser_leaves_out_the_usual_port(session: Session) -> None:
    app, _ = create_app(session, TOKEN, 80)
    with TestClient(app, base_url="http://127.0.0.1", follow_redirects=False) as client:
        assert client.get(f"/?token={TOKEN}").headers["set-cookie"].startswith("byoc-80=")
        assert client.get("/", headers={"host": "127.0.0.1:81"}).status_code == 421
