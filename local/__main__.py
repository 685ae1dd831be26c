"""The local SageMaker as a program: `python -m local --home FOLDER`; `byoc local up` starts it.

Exit codes: 0 stopped, 1 failed, 2 wrong arguments, 4 the runtime cannot be used (no Docker engine answers).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from local import peers
from local.app import App
from local.config import DEFAULT_PORT, DEFAULT_REGION, TRAIN_IMAGE, Config
from local.jobs.engine import Engine
from local.jobs.services import Services
from local.runtime.choice import make_runtime, remove_leftovers
from local.runtime.container import RuntimeProblem
from local.s3.app import S3
from local.store import Store

log = logging.getLogger("local")

# The commands of this repository's own images, for the process runtime.
_COMMANDS = Path(__file__).resolve().parent.parent / "docker" / "bin"
_MOST_PER_HOUR = 3600  # interruptions of a job
_OWN_IMAGES = (TRAIN_IMAGE, "byoc-serve", "byoc-serve-cpu")


class CannotStart(Exception):
    """The text is for whoever started the program."""


def main() -> int:
    config, only_sweep = _arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config.home.mkdir(parents=True, exist_ok=True)
        with _alone(config.home):
            if only_sweep:
                for what in remove_leftovers(config.home):
                    print(what, flush=True)  # it is shown even if the next one takes too long
                return 0
            with _listening(config.port) as listener:
                _serve(config, listener)
    except RuntimeProblem as error:
        print(f"local: {error}", file=sys.stderr)
        return 4
    except CannotStart as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except (OSError, sqlite3.Error) as error:
        print(f"local: cannot use {config.home}: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(config: Config, listener: socket.socket) -> None:
    """Everything up, in the order in which one part needs another; and down again in the reverse order."""
    runtime = make_runtime(config)
    store = Store(config.database)
    s3 = S3(config)
    try:
        services = Services(config, store, runtime)
        engine = Engine(config, store, services=services)
        app = App(config, store, engine, s3, payload_limit=services.payload_limit, hosts=runtime.hosts)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_answer_requests(app, engine, listener))
    finally:
        runtime.close()
        s3.close()
        store.close()


async def _answer_requests(app: App, engine: Engine, listener: socket.socket) -> None:
    server = _Server(
        uvicorn.Config(
            app,
            http=peers.guarded(HttpToolsProtocol),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=75,
        )
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await asyncio.to_thread(engine.start)
        threading.Thread(target=app.fakes.warm_up, name="moto", daemon=True).start()
        log.info("ready")
        await asyncio.wait(
            [serving, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        # While jobs end, the service goes on answering: they upload, and somebody may watch.
        log.info("stopping")
        await asyncio.to_thread(engine.close)
        server.should_exit = True
        await serving
        await app.close()
        log.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: it would cut off the jobs that are about to end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[IO[str]]:
    """The home folder for this process alone."""
    with (home / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"another local SageMaker uses {home} already: stop it, or use another --home."
            ) from None
        yield lock


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    # The protocol is named because asyncio switches Nagle's algorithm off only then: 40 ms a request.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listener:
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            raise CannotStart(
                f"cannot listen on port {port} ({error.strerror}): use another --port."
            ) from None
        listener.listen(1024)
        yield listener


def _arguments() -> tuple[Config, bool]:
    """The settings, and whether to sweep only."""
    parser = argparse.ArgumentParser(prog="python -m local", description="Amazon SageMaker on this machine.")
    parser.add_argument("--home", type=Path, required=True, help="folder that holds everything it keeps")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"on 127.0.0.1 (default: {DEFAULT_PORT})"
    )
    parser.add_argument("--region", default=DEFAULT_REGION, help=f"in ARNs (default: {DEFAULT_REGION})")
    parser.add_argument(
        "--runtime", choices=("process", "docker"), default="process", help="what jobs run in"
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME=DIR",
        type=_image,
        help="process runtime: folder with the commands of one more image",
    )
    parser.add_argument(
        "--train-image",
        default=TRAIN_IMAGE,
        metavar="NAME",
        help="image whose command `rules` judges the jobs' rules and measures this machine (default: "
        f"{TRAIN_IMAGE})",
    )
    parser.add_argument(
        "--spot-interruptions",
        type=_rate,
        default=0.0,
        metavar="PER_HOUR",
        help="how often a spot job loses its machine by chance, per hour of training (default: 0)",
    )
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="only remove what a killed service of this home left, and say what",
    )
    options = parser.parse_args()
    own = {name: _COMMANDS for name in _OWN_IMAGES if _COMMANDS.is_dir()}
    os.umask(0o077)  # pictures and models are nobody else's on a shared machine
    config = Config(
        home=options.home.resolve(),  # one name for one folder: containers are found by it
        port=options.port,
        region=options.region,
        runtime=options.runtime,
        images={**own, **dict(options.image)},
        train_image=options.train_image,
        spot_interruptions=options.spot_interruptions,
    )
    return config, options.sweep


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= _MOST_PER_HOUR:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 0 to {_MOST_PER_HOUR}")
    return rate


def _image(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not separator or not name or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=DIR, and DIR an existing folder")
    return name, Path(folder).absolute()


if __name__ == "__main__":
    sys.exit(main())
