"""The server of the page over moto, or over what a test puts in AWS's place."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

with warnings.catch_warnings():  # it would have httpx2, and does with httpx
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

from scripts.web.app import create_app
from scripts.web.session import Session

PORT = 8765
TOKEN = "a-token-of-this-test"
OWN = f"http://127.0.0.1:{PORT}"


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def stranger(session: Session) -> Iterator[TestClient]:
    """A client without the token."""
    app, _ = create_app(session, TOKEN, PORT)
    with TestClient(app, base_url=OWN, follow_redirects=False) as client:
        yield client


@pytest.fixture
def client(stranger: TestClient) -> TestClient:
    """The page's own requests: with the cookie, and with the headers that a browser sends."""
    assert stranger.get(f"/?token={TOKEN}").status_code == 303
    stranger.headers["origin"] = OWN
    return stranger


@pytest.fixture
def web(ready: Path, client: TestClient) -> TestClient:
    """The same in a project that is ready, on moto."""
    return client
