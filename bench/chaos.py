"""What happens to requests when workers die under load, and to memory in a long run at full load.

python -m bench.chaos --kills 20               SIGKILL a worker again and again, with 32 clients
python -m bench.chaos --soak 600               seconds at full load
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from bench import load, serve, servers

CLIENTS = 32


def workers(running: servers.Running) -> list[int]:
    """Process ids, the oldest first: those whose parent is the process that holds the model."""
    mark = f"BENCH_PORT={running.port}".encode()
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                mark in (folder / "environ").read_bytes().split(b"\0")
                and b"model_service_worker" in (folder / "cmdline").read_bytes()
            ):
                stat = (folder / "stat").read_text()
                if stat.rpartition(")")[2].split()[0] != "Z":
                    parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
        except OSError:
            continue
    return sorted(pid for pid, parent in parents.items() if parent in parents)


class Clients:
    """Connections that never stop asking, and note what they get."""

    def __init__(self, port: int, count: int) -> None:
        self.codes: Counter[int] = Counter()
        self.done = threading.Event()
        self._port = port
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _work(self) -> None:
        request = load.post(serve.make_picture(0))
        connection: socket.socket | None = None
        while not self.done.is_set():
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self._port), 60)
                connection.sendall(request)
                code, _ = load.answer(connection)
            except OSError:
                code = 0
            with self._lock:
                self.codes[code] += 1
            if code != 200 and connection is not None:
                connection.close()
                connection = None
                time.sleep(0.05)

    def stop(self) -> None:
        self.done.set()
        for thread in self._threads:
            thread.join()


def ping(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=2) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def kill_workers(running: servers.Running, kills: int) -> bool:
    """One at a time; the next when all are back."""
    clients = Clients(running.port, CLIENTS)
    whole = len(workers(running))
    back: list[float] = []
    lied = 0
    try:
        time.sleep(1)
        for number in range(kills):
            alive = workers(running)
            before = clients.codes[200]
            os.kill(alive[number % len(alive)], signal.SIGKILL)
            begin = time.perf_counter()
            served = restored = None
            while restored is None and time.perf_counter() - begin < 30:
                lied += ping(running.port) != 200  # the other worker is there all the time
                now = time.perf_counter() - begin
                if served is None and clients.codes[200] > before + whole:
                    served = now
                if len(set(workers(running)) - set(alive)) == 1 and len(workers(running)) == whole:
                    restored = now
                time.sleep(0.02)
            back.append(restored if restored is not None else float("inf"))
            time.sleep(0.5)
    finally:
        clients.stop()
    failed = sum(count for code, count in clients.codes.items() if code != 200)
    print(f"{kills} workers killed under {CLIENTS} clients: answers {dict(clients.codes)}")
    print(f"failed requests for each kill: {failed / kills:.2f} (a worker has one in its hands)")
    print(f"the worker is back after {sorted(back)[len(back) // 2]:.2f} s, at most {max(back):.2f} s")
    print(f"/ping was wrong {lied} times")
    return failed <= kills and max(back) < 2 and lied == 0


def soak(running: servers.Running, seconds: float) -> bool:
    """Memory in the second tenth of the time (everything is warm by then) against the last."""
    clients = Clients(running.port, 8)
    begin = time.perf_counter()
    seen: list[tuple[float, float]] = []
    try:
        while (now := time.perf_counter() - begin) < seconds:
            seen.append((now, running.memory_mb()))
            time.sleep(max(seconds / 60, 0.5))
    finally:
        clients.stop()
    tenths = [
        statistics.median(memory for at, memory in seen if tenth <= 10 * at / seconds < tenth + 1)
        for tenth in range(1, 10)
    ]
    growth = (tenths[-1] / tenths[0] - 1) * 100
    print(f"soak of {seconds:.0f} s: answers {dict(clients.codes)}")
    print(f"memory in MB, by tenths: {', '.join(f'{memory:.0f}' for memory in tenths)} ({growth:+.1f} %)")
    return set(clients.codes) == {200} and abs(growth) <= 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--soak", type=float, default=0)
    options = parser.parse_args()
    servers.end_on_sigterm()
    good = True
    with tempfile.TemporaryDirectory(prefix="byoc-chaos-") as work:
        base = Path(work) / "base"
        serve.make_model(base / "model")
        running = servers.ours("byoc", base, Path(work) / "log")
        try:
            if options.kills:
                good &= kill_workers(running, options.kills)
            if options.soak:
                good &= soak(running, options.soak)
        finally:
            running.stop()
        print((Path(work) / "log").read_text()[-1000:])
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
