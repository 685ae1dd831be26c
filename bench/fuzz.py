"""Mutated and generated requests against the request parser and the picture decoder.

    python -m bench.fuzz --inputs 100000           in processes of their own: a crash is seen and told
    python -m bench.fuzz --http 5000               over HTTP, against a server that it starts

An input is bad for us if it ends a process, is answered with a 5xx, gets no answer, or takes longer than
`SLOW` seconds. Each is made from a seed, so that a finding can be repeated: `--seed N --inputs 1`.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import io
import json
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from bench import load, serve, servers

SLOW: Final = 5.0
# Values that break arithmetic in headers.
_NUMBERS: Final = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclasses.dataclass(frozen=True)
class Input:
    body: bytes
    content_type: str
    accept: str = ""
    attributes: str = ""


def seeds(folder: Path | None = None) -> list[bytes]:
    """Small pictures in every format and many modes; with those of `folder` where it is given."""
    generator = np.random.default_rng(0)
    colours = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    found = []
    options: list[tuple[str, str, dict[str, Any]]] = [
        ("JPEG", "RGB", {}), ("JPEG", "L", {}), ("JPEG", "CMYK", {}), ("JPEG", "RGB", {"progressive": True}),
        ("PNG", "RGB", {}), ("PNG", "RGBA", {}), ("PNG", "P", {}), ("PNG", "1", {}), ("PNG", "I;16", {}),
        ("WEBP", "RGB", {}), ("WEBP", "RGBA", {"lossless": True}), ("GIF", "P", {}), ("BMP", "RGB", {}),
        ("BMP", "P", {}), ("TIFF", "RGB", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("TIFF", "L", {"compression": "packbits"}), ("TIFF", "RGB", {"compression": "jpeg"}),
        ("TIFF", "1", {"compression": "group4"}), ("TIFF", "F", {}),
        ("TIFF", "CMYK", {"compression": "tiff_deflate"}),
        ("AVIF", "RGB", {}), ("DIB", "RGB", {}), ("PPM", "RGB", {}), ("JPEG2000", "RGB", {}),
        ("ICO", "RGBA", {}), ("TGA", "RGB", {"compression": "tga_rle"}), ("PCX", "RGB", {}),
    ]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind, mode, extra in options:
        stream = io.BytesIO()
        try:
            colours.convert(mode).save(stream, kind, exif=exif, **extra)
        except (OSError, ValueError, KeyError):  # a build of Pillow without this format
            continue
        found.append(stream.getvalue())
    frames = io.BytesIO()
    colours.save(frames, "GIF", save_all=True, append_images=[colours.rotate(90)])
    found.append(frames.getvalue())
    if folder is not None:
        for path in sorted(folder.glob("*/*")):
            if path.is_file() and path.stat().st_size < 64_000:
                found.append(path.read_bytes())
    return found


def mutate(data: bytes, dice: random.Random, others: Sequence[bytes]) -> bytes:
    """A few small harms."""
    result = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6, 12))):
        # Headers are where sizes and offsets lie.
        size = len(result)
        place = dice.randrange(max(1, min(size, 96 if dice.random() < 0.5 else size)))
        kind = dice.randrange(8)
        if kind == 0:
            result[place : place + 1] = bytes([dice.randrange(256)])
        elif kind == 1 and size:
            result[place % size] ^= 1 << dice.randrange(8)
        elif kind == 2:
            width = dice.choice((1, 2, 4))
            number = dice.choice(_NUMBERS) & (256**width - 1)
            result[place : place + width] = number.to_bytes(width, dice.choice(("little", "big")))
        elif kind == 3:
            del result[place : place + dice.choice((1, 2, 8, 64, 100_000))]
        elif kind == 4:
            result[place:place] = dice.randbytes(dice.choice((1, 4, 32)))
        elif kind == 5:
            chunk = result[place : place + dice.choice((4, 16, 64))]
            result[place:place] = chunk * dice.choice((1, 2, 16))
        elif kind == 6:
            other = dice.choice(others)
            start = dice.randrange(max(1, len(other)))
            result[place : place + 32] = other[start : start + 32]
        else:
            del result[place:]
    return bytes(result)


def make(seed: int, pictures: Sequence[bytes]) -> Input:
    """The input of this seed."""
    dice = random.Random(seed)
    picture = dice.choice(pictures)
    if dice.random() < 0.85:
        picture = mutate(picture, dice, pictures)
    accept, attributes = "", dice.choice(("", "top_k=2", "top_k=all;threshold=0.1"))
    if dice.random() < 0.1:
        accept = dice.choice(
            ("application/json", "text/csv", "application/jsonlines", "image/png", "*/*;q=0", ";")
        )
        attributes = dice.choice(("top_k=-1", "explain=1", "a=b,=;", "threshold=nan"))
    text = base64.b64encode(picture).decode()
    kind = dice.randrange(10)
    if kind < 6:
        types = (
            "image/jpeg",
            "image/png",
            "application/x-image",
            "application/octet-stream",
            "",
            "image/\u00e9",
        )
        return Input(picture, dice.choice(types), accept, attributes)
    if kind == 6:
        documents: list[Any] = [
            {"image": text}, {"images": [text, text]}, {"instances": [{"b64": text}]}, [text],
            {"image": text, "top_k": 3}, {"image": "data:image/png;base64," + text}, {"image": [text]},
            {"image": "s3://bucket/key"},
        ]  # fmt: skip
        body = json.dumps(dice.choice(documents)).encode()
        body = body if dice.random() < 0.5 else mutate(body, dice, pictures)
        return Input(body, "application/json", accept, attributes)
    if kind == 7:
        lines = b"\n".join(json.dumps({"image": text}).encode() for _ in range(dice.randrange(4)))
        return Input(mutate(lines, dice, pictures), "application/jsonlines", accept, attributes)
    if kind == 8:
        stream = io.BytesIO()
        shape = dice.choice(((8, 8, 3), (2, 8, 8, 3), (8, 8), (1, 400, 3)))
        np.save(stream, np.zeros(shape, dice.choice((np.uint8, np.uint8, np.float32))))
        return Input(mutate(stream.getvalue(), dice, pictures), "application/x-npy", accept, attributes)
    form = (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n' + picture + b"\r\n--b--\r\n"
    )
    form = form if dice.random() < 0.5 else mutate(form, dice, pictures)
    return Input(
        form, dice.choice(("multipart/form-data; boundary=b", "multipart/form-data")), accept, attributes
    )


def decide(item: Input) -> tuple[int, str]:
    """Status and message of what the handler would say before the forward pass."""
    from model.preprocess import Preprocessing
    from serve import answer, job, request, settings
    from serve.errors import RequestError

    limits, preprocessing = settings.Limits(), Preprocessing.for_size(64)
    headers = {
        "content-type": item.content_type,
        "accept": item.accept,
        request.ATTRIBUTES: item.attributes,
    }
    try:
        asked = request.parse(item.body, headers, limits)
        answer.choose(item.accept)
        for picture in asked.pictures:
            if isinstance(picture, bytes):
                job.check_size(picture, limits)
            job.decode(picture, preprocessing, limits)
    except RequestError as error:
        json.loads(answer.error(error.code, str(error)))
        return error.code, str(error)
    return 200, ""


def _work(
    first: int, step: int, count: int, folder: Path | None, at: Synchronized[int], results: Any
) -> None:
    """Inputs first, first + step, ...; `at` says where it is, for whoever finds this process dead."""
    pictures = seeds(folder)
    codes: Counter[int] = Counter()
    bad = []
    slowest = (0.0, 0)
    decide(Input(pictures[0], "image/jpeg"))  # imports take their time
    for number in range(count):
        seed = first + number * step
        at.value = seed
        item = make(seed, pictures)
        begin = time.perf_counter()
        try:
            code, _ = decide(item)
        except Exception as error:
            code = 500
            bad.append((seed, f"{type(error).__name__}: {error}"[:200]))
        codes[code] += 1
        slowest = max(slowest, (time.perf_counter() - begin, seed))
    results.put((codes, bad, slowest))


def in_process(
    count: int, seed: int, folder: Path | None, processes: int
) -> tuple[Counter[int], list[Any], float]:
    """Codes, what went wrong as (seed, what), and the longest time in seconds."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    places = [context.Value("q", -1) for _ in range(processes)]
    each = -(-count // processes)
    workers = [
        context.Process(target=_work, args=(seed + number, processes, each, folder, places[number], results))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    codes: Counter[int] = Counter()
    bad: list[Any] = []
    slowest = 0.0
    waiting = set(range(processes))
    finished = 0
    while finished < processes - sum(1 for item in bad if item[1].startswith("crash")):
        try:
            found, wrong, slow = results.get(timeout=1)
        except Exception:
            for number in sorted(waiting):
                if workers[number].exitcode not in (None, 0):
                    waiting.discard(number)
                    bad.append((places[number].value, f"crash: exit status {workers[number].exitcode}"))
            continue
        finished += 1
        codes += found
        bad += wrong
        slowest = max(slowest, slow[0])
        if slow[0] > SLOW:
            bad.append((slow[1], f"took {slow[0]:.1f} s"))
    for worker in workers:
        worker.join()
    return codes, bad, slowest


class Client:
    """One connection, made anew when the server has closed it after an answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: socket.socket | None = None

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status 0: no answer, on a fresh connection too."""
        for _ in range(2):
            try:
                if self._connection is None:
                    self._connection = socket.create_connection(("127.0.0.1", self._port), 60)
                self._connection.sendall(request)
                code, body = load.answer(self._connection)
            except OSError:
                code, body = 0, b""
            if code:
                return code, body
            self.close()
        return 0, b""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def over_http(count: int, seed: int, folder: Path | None) -> tuple[Counter[int], list[Any]]:
    """The same inputs against the serve command."""
    codes: Counter[int] = Counter()
    bad: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="byoc-fuzz-") as work:
        base = Path(work) / "base"
        serve.make_model(base / "model")
        server = servers.ours("byoc", base, Path(work) / "log")
        try:
            pictures = seeds(folder)
            client = Client(server.port)
            for number in range(seed, seed + count):
                item = make(number, pictures)
                headers = {"Content_Type": item.content_type.encode("ascii", "replace").decode()}
                headers |= {"Accept": item.accept, "X_Amzn_SageMaker_Custom_Attributes": item.attributes}
                code, body = client.ask(load.post(item.body, **headers))
                codes[code] += 1
                if code == 0 or code >= 500:
                    bad.append((number, f"{code} {body[:200]!r}"))
                elif code >= 400 and json.loads(body)["code"] != code:
                    bad.append((number, "the body does not say the code"))
            client.close()
            log = (Path(work) / "log").read_text()
            if "Traceback" in log or log.count("\n") > 1:
                bad.append((-1, f"log: {log[-500:]}"))
        finally:
            server.stop()
    return codes, bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=0)
    parser.add_argument("--http", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=Path, help="a folder of folders of further pictures to start from")
    options = parser.parse_args()
    servers.end_on_sigterm()
    bad: list[Any] = []
    if options.inputs:
        begin = time.perf_counter()
        cores = min(len(os.sched_getaffinity(0)), options.inputs)
        codes, bad, slowest = in_process(options.inputs, options.seed, options.pictures, cores)
        print(f"in process: {sum(codes.values())} inputs in {time.perf_counter() - begin:.0f} s, ", end="")
        print(f"{dict(sorted(codes.items()))}, slowest {slowest:.2f} s")
    if options.http:
        codes, wrong = over_http(options.http, options.seed, options.pictures)
        print(f"over HTTP: {sum(codes.values())} inputs, {dict(sorted(codes.items()))}")
        bad += wrong
    for seed, what in bad[:50]:
        print(f"seed {seed}: {what}")
    print(f"{len(bad)} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
