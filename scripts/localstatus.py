"""Which local SageMaker answers, whose it is, and why none does; `scripts.localservice` starts and stops it.

Each folder has its own, whose home is `.byoc/local` beside byoc.toml. A service with a home of another name
was started by hand (`python -m local`), belongs to no folder and serves all of them.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import socket
import subprocess
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contract.errors import UNREACHABLE, ByocError

_HOME = Path(".byoc") / "local"
PATIENCE = 5.0  # seconds; a service whose jobs keep the machine busy answers within one
_SOON = 2.0  # seconds
_LOG_BYTES = 64 * 1024  # of the end of a log, where its last words are looked for
# A record of that level, the last line of a traceback, or what the program says when it cannot start.
_ERROR_LINE = re.compile(r"\S+ \S+ (ERROR|CRITICAL) |[\w.]*(Error|Exception)\b|Fatal Python error|local: ")
_STOPPED_LINE = re.compile(r"\S+ \S+ INFO local: stopped$")  # its last, where it was asked to stop


@dataclass(frozen=True)
class Service:
    """A running local SageMaker."""

    pid: int
    port: int
    home: str
    version: str = ""
    runtime: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "url": self.url}


def home_of(folder: Path) -> Path:
    """The home of the service that belongs to the folder of a byoc.toml."""
    return (folder / _HOME).resolve()


# --- who answers ------------------------------------------------------------------------------------


def health(port: int) -> Service | None:
    """The service that answers on this port, and soon; None where nothing of ours does."""
    try:
        return _ask(f"http://127.0.0.1:{port}", _SOON)
    except OSError:
        return None


def hangs(port: int, patience: float) -> bool:
    """Whether something takes connections on this port, but has no answer within `patience` seconds."""
    try:
        _ask(f"http://127.0.0.1:{port}", patience)
    except OSError as error:
        return isinstance(_cause(error), TimeoutError)
    return False


def _cause(error: OSError) -> object:
    """urllib wraps what happens before the request is sent, and nothing else."""
    return getattr(error, "reason", error)


def _ask(url: str, timeout: float) -> Service | None:
    """The service that answers there; None where something else does. OSError where nothing does."""
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
        with opener.open(f"{url.rstrip('/')}/health", timeout=timeout) as answer:
            answer_body = json.load(answer)
        if answer_body.get("service") != "byoc-local":
            return None
        home, port = str(answer_body["home"]), int(answer_body["port"])
        return Service(int(answer_body["pid"]), port, home, answer_body["version"], answer_body["runtime"])
    except (urllib.error.HTTPError, http.client.HTTPException):
        return None  # some other server, or ours of another user
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def status(home: Path, port: int | None = None) -> Service | None:
    """The service of `home`: the one that `up` started, whether it answers or not; else the one on `port`."""
    home = home.resolve()
    process = started(home)
    if process and is_service(process["pid"], home):
        answering = health(process["port"])
        # What answers on the port is believed only where it is the process that was started here.
        if answering and answering.pid == process["pid"]:
            return answering
        return Service(process["pid"], process["port"], str(home), runtime=str(process.get("runtime", "")))
    by_hand = health(port) if port else None
    return by_hand if by_hand and Path(by_hand.home).resolve() == home else None


def started(home: Path) -> dict[str, Any]:
    """What `up` noted of the service that it started (pid, port, runtime, log), until `down`; else empty.

    The service may be gone by now: then it was killed, or ended by itself.
    """
    try:
        noted = json.loads(note(home).read_text())
        return {**noted, "pid": int(noted["pid"]), "port": int(noted["port"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def note(home: Path) -> Path:
    """The file that `started` reads."""
    return home / "service.json"


def is_service(pid: int, home: Path) -> bool:
    """Whether the process is alive and ours: a number from an old file may belong to anybody by now."""
    if pid <= 0 or not alive(pid):
        return False
    try:
        command = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    except OSError:  # no /proc, as on macOS
        command = subprocess.run(
            ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return " -m local " in command and f" --home {home} " in command


def alive(pid: int) -> bool:
    """Whether there is such a process, of whomever."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # where no init reaps them, ended processes stay visible as zombies
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return True


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- what is wrong ------------------------------------------------------------------------------------


def check(home: Path, url: str, *, anyone: bool = False) -> bool:
    """Before the first request to `url`, an address on this machine: one question, who answers there.

    What is no local SageMaker (an emulator of AWS, say) may be used; so may one that belongs to no folder.

    Returns:
        Whether a local SageMaker answers.

    Raises:
        ByocError: nothing listens there, or it hangs; or the service of another folder does, unless `anyone`
            may.
    """
    try:
        health = _ask(url, PATIENCE)
    except OSError as error:
        cause = _cause(error)
        # boto3 would wait for minutes.
        if isinstance(cause, ConnectionRefusedError) or (isinstance(cause, TimeoutError) and status(home)):
            raise unreachable(home, url) from None
        if isinstance(cause, TimeoutError):
            raise ByocError(
                f"{url} takes connections, but does not answer.",
                "Whatever listens there hangs: stop it, or set another aws.endpoint_url in byoc.toml.",
                code=UNREACHABLE,
                kind="Unreachable",
            ) from None
        return False  # TLS, say: the request itself will show it
    if health and not anyone:
        other = Path(health.home)
        if other.parts[-2:] == _HOME.parts and other.resolve() != home.resolve():
            raise another(health, home, url)
    return health is not None


def another(other: Service, home: Path, url: str) -> ByocError:
    """The service of another home answers where this folder's should."""
    return ByocError(
        f"{url} is the local SageMaker of {other.home}, but this folder's is {home}.",
        _by_environment(url)
        or f"Stop that one ({how_to_stop(other)}), or give this folder an address of its own: set "
        f'aws.endpoint_url in byoc.toml to "http://127.0.0.1:{free_port()}", then `byoc local up`.',
        kind="AnotherService",
    )


def _by_environment(url: str) -> str:
    """The remedy where the address is the shell's, perhaps still from work in another folder."""
    if os.environ.get("AWS_ENDPOINT_URL") != url:
        return ""
    return "AWS_ENDPOINT_URL says so: `unset AWS_ENDPOINT_URL`, and the address in byoc.toml counts."


def how_to_stop(service: Service) -> str:
    """What to do, from any folder, to stop a service that is not this folder's."""
    home = Path(service.home)
    if home.parts[-2:] == _HOME.parts and started(home).get("pid") == service.pid:
        return f"`byoc local down --config {shlex.quote(str(home.parent.parent / 'byoc.toml'))}`"
    if is_service(service.pid, home):  # started by hand, or its folder has been moved or deleted
        return f"`kill {service.pid}`"
    return "where it was started"


def unreachable(home: Path, url: str) -> ByocError:
    """Why nothing answers at `url`, an address on this machine, as far as this folder knows."""
    service, ended = status(home), False
    if service and service.port != urlsplit(url).port:
        reason = f"this folder's local SageMaker runs at {service.url}"
        remedy = _by_environment(url) or "Set aws.endpoint_url in byoc.toml to that address."
    elif service and health(service.port):
        reason = (
            f"this folder's local SageMaker (process {service.pid}) is up, but took no part in this request"
        )
        remedy = f"Run the command again; what the service says of it is in {home / 'service.log'}."
    elif service:
        reason = f"this folder's local SageMaker (process {service.pid}) is there, but hangs or still starts"
        remedy = (
            f"Its log is {home / 'service.log'}. If it stays so: `byoc local down` stops it, and the jobs "
            "that it runs; `byoc local up` starts it anew."
        )
    else:
        reason, ended = f"this folder's local SageMaker {end(home)}", True
        remedy = "Start it with `byoc local up`. Jobs that it ran have ended with it."
    return ByocError(
        f"Nothing answers at {url}: {reason}.",
        remedy,
        code=UNREACHABLE,
        kind="Unreachable",
        details={"ended": ended},
    )


def end(home: Path) -> str:
    """How the service of `home` ended that does not run: the end of a sentence, without its full stop."""
    process = started(home)
    if not process:
        return "does not run"
    log = home / "service.log"
    words = last_words(log, process)
    errors = [line for line in words if _ERROR_LINE.match(line)]
    if words and _STOPPED_LINE.match(words[-1]):  # by a `down` that did not wait, or by a signal
        return "was stopped"
    said = f"; the last error in its log, {log}: {errors[-1].rstrip('.')}" if errors else ""
    return f"was killed, or ended by itself{said or f', with no error in its log, {log}'}"


def last_words(log: Path, noted: dict[str, Any]) -> list[str]:
    """The last lines that the service of that note has written to its log."""
    try:
        with log.open("rb") as file:
            file.seek(max(int(noted.get("log", 0)), log.stat().st_size - _LOG_BYTES))
            return file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
