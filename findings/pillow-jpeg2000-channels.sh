#!/bin/bash
# Valid JPEG 2000 files whose boxes give the channels a meaning that Pillow 13.0.0 does not read.
#
# - The box cdef may say that the channels are blue, green, red, or that alpha is premultiplied or no alpha at all.
#   Pillow 13.0.0 takes them for red, green, blue and straight alpha.
# - The box colr may name CIELab. Pillow 13.0.0 takes L, a and b for red, green and blue.
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

PIXEL = (100, 50, 25, 128)


def show(what: str, channels: list[tuple[int, int]], space: int = 16) -> None:
    """`channels`: the type and the colour of each; `space`: the number of the colour space."""
    file = io.BytesIO()
    Image.new("RGBA", (8, 8), PIXEL).save(file, "JPEG2000", irreversible=False, mct=0)
    data = bytearray(file.getvalue())
    colour, definition = data.index(b"colr"), data.index(b"cdef")
    data[colour + 7 : colour + 11] = struct.pack(">I", space)
    entries = b"".join(struct.pack(">HHH", number, *entry) for number, entry in enumerate(channels))
    data[definition + 6 : definition + 6 + len(entries)] = entries
    with Image.open(io.BytesIO(data)) as image:
        print(f"{what}: {image.mode} {image.getpixel((0, 0))}")


print("Pillow", PIL.__version__, "stored:", PIXEL)
show("red, green, blue, alpha", [(0, 1), (0, 2), (0, 3), (1, 0)])
show("blue, green, red, alpha", [(0, 3), (0, 2), (0, 1), (1, 0)])
show("premultiplied alpha", [(0, 1), (0, 2), (0, 3), (2, 0)])
show("no alpha", [(0, 1), (0, 2), (0, 3), (65535, 65535)])
show("CIELab", [(0, 1), (0, 2), (0, 3), (1, 0)], 14)
PYTHON
cat now
diff -u --label seen --label now - now <<'SEEN'
Pillow 13.0.0 stored: (100, 50, 25, 128)
red, green, blue, alpha: RGBA (100, 50, 25, 128)
blue, green, red, alpha: RGBA (100, 50, 25, 128)
premultiplied alpha: RGBA (100, 50, 25, 128)
no alpha: RGBA (100, 50, 25, 128)
CIELab: RGBA (100, 50, 25, 128)
SEEN
