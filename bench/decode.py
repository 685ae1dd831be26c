"""CPU time from a picture's bytes to the network's input, beside the same of an earlier commit.

    python -m bench.decode --against 76c0352

Both run in processes of their own, in turns, a picture at a time; each picture counts with its fastest turn,
which a busy machine disturbs least. The photos are made up, as bench.serve's, or those of --pictures FOLDER.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.serve import make_picture

# Reads pictures by length; for each says how long it took, in ms, and which pixels the network would see.
_SIDE = """
import json, sys, time
import numpy
import torch
from model.preprocess import Preprocessing
torch.set_num_threads(1)
ours = Preprocessing()
while length := sys.stdin.buffer.readline():
    data = sys.stdin.buffer.read(int(length))
    spent = 1e9
    for _ in range(3):
        begin = time.process_time_ns()
        ours.load(data)
        spent = min(spent, (time.process_time_ns() - begin) / 1e6)
    pixels = ours.to_uint8(ours.decode(data))
    sys.stdout.buffer.write(json.dumps(spent).encode() + b"\\n" + pixels.tobytes())
    sys.stdout.buffer.flush()
"""
_BYTES = 224 * 224 * 3


class Side:
    """One version of the code, in a process."""

    def __init__(self, root: Path) -> None:
        self._process: Any = subprocess.Popen(
            [sys.executable, "-c", _SIDE], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def time(self, data: bytes) -> tuple[float, Any]:
        self._process.stdin.write(b"%d\n" % len(data) + data)
        self._process.stdin.flush()
        spent = json.loads(self._process.stdout.readline())
        return spent, np.frombuffer(self._process.stdout.read(_BYTES), np.uint8).astype(int)

    def close(self) -> None:
        self._process.communicate()


def photos(width: int, height: int, quality: int, count: int) -> list[bytes]:
    made = []
    for seed in range(count):
        image = Image.open(io.BytesIO(make_picture(seed))).resize((width, height), Image.Resampling.BICUBIC)
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality)
        made.append(stream.getvalue())
    return made


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.decode", description=__doc__.split("\n")[0])
    parser.add_argument("--against", default="76c0352", help="a commit")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--pictures", type=Path, help="a folder of pictures instead")
    options = parser.parse_args()
    sets = {
        "500 x 375": photos(500, 375, 55, 10),
        "256 x 256": photos(256, 256, 80, 10),
        "1600 x 1200": photos(1600, 1200, 80, 4),
        "4000 x 3000": photos(4000, 3000, 85, 2),
    }
    if options.pictures:
        sets = {
            str(options.pictures): [file.read_bytes() for file in sorted(options.pictures.iterdir())[:40]]
        }
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="byoc-decode-") as folder:
        archive = subprocess.run(
            ["git", "archive", options.against], cwd=root, capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        old, new = Side(Path(folder)), Side(root)
        for name, pictures in sets.items():
            fastest = np.full((2, len(pictures)), np.inf)
            apart = 0
            for _ in range(options.rounds):
                for number, data in enumerate(pictures):
                    (before, was), (after, found) = old.time(data), new.time(data)
                    fastest[:, number] = np.minimum(fastest[:, number], (before, after))
                    apart = max(apart, int(abs(was - found).max()))
            before, after = fastest.mean(1)
            size = sum(map(len, pictures)) / len(pictures) / 1000
            print(f"{name}, {size:.0f} kB: {before:.2f} ms, now {after:.2f}: {after / before:.2f}; ", end="")
            print(f"pixels differ by at most {apart} of 255 levels")
        old.close()
        new.close()


if __name__ == "__main__":
    main()
