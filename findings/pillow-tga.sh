#!/bin/bash
# Valid TGA files whose pixels Pillow 13.0.0 makes transparent.
#
# - A TGA of 32 bits that says it has no alpha (0 attribute bits in its descriptor) is wholly transparent in Pillow
#   13.0.0 where the unused bits are 0. Pillow does not read how many of the bits are alpha.
# - A TGA of 16 bits with one bit of alpha is transparent where that bit says opaque (1), and the other way round.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install -q --disable-pip-version-check pillow==13.0.0
venv/bin/python -I - >now <<'PYTHON'
import io
import struct

import PIL
from PIL import Image


def show(what: str, pixels: bytes, bits: int, alpha: int) -> None:
    header = struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 1, 1, bits, 0x20 | alpha)
    with Image.open(io.BytesIO(header + pixels)) as image:
        print(what, image.format, image.mode, image.getpixel((0, 0)))


print("Pillow", PIL.__version__)
show("32 bits, none of them alpha, red:", bytes([0, 0, 255, 0]), 32, 0)
show("32 bits, 8 of them alpha, opaque red:", bytes([0, 0, 255, 255]), 32, 8)
show("16 bits, 1 of them alpha, opaque red:", struct.pack("<H", 0x8000 | 31 << 10), 16, 1)
show("16 bits, 1 of them alpha, transparent red:", struct.pack("<H", 31 << 10), 16, 1)
PYTHON
cat now
diff -u --label seen --label now - now <<'SEEN'
Pillow 13.0.0
32 bits, none of them alpha, red: TGA RGBA (255, 0, 0, 0)
32 bits, 8 of them alpha, opaque red: TGA RGBA (255, 0, 0, 255)
16 bits, 1 of them alpha, opaque red: TGA RGBA (255, 0, 0, 0)
16 bits, 1 of them alpha, transparent red: TGA RGBA (255, 0, 0, 255)
SEEN
