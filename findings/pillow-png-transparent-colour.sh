#!/bin/bash
# The transparent colour of a PNG (tRNS) is missed in Pillow 13.0.0 at 2, 4 and 16 bits a channel.
#
# Pillow compares the pixels, scaled to 8 bits, with a key that it does not scale, so the transparent pixel stays
# opaque. In colour of 16 bits it takes the key's low bytes, and another pixel can vanish. 1 and 8 bits are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install -q --disable-pip-version-check pillow==13.0.0 pypng==0.20220715.0
venv/bin/python -I - >now <<'PYTHON'
import io

import PIL
import png
from PIL import Image


def show(what: str, row: list[int], bits: int, key: int | tuple[int, ...]) -> None:
    grey, file = isinstance(key, int), io.BytesIO()
    writer = png.Writer(len(row) // (1 if grey else 3), 1, greyscale=grey, bitdepth=bits, transparent=key)
    writer.write(file, [row])
    reader = png.Reader(bytes=file.getvalue())
    rows = list((reader.asRGBA8() if bits <= 8 else reader.asRGBA())[2])
    print(f"{what}, transparent is {key}: alpha of each pixel")
    print("    pypng ", list(rows[0][3::4]))
    with Image.open(file) as image:
        print("    Pillow", list(image.convert("RGBA").getchannel("A").tobytes()))


print("Pillow", PIL.__version__)
for bits in (1, 2, 4, 8, 16):
    top = 2**bits - 1
    show(f"grey, {bits} bit{'s' * (bits > 1)}", [0, top // 3, top], bits, top // 3)
show("colour, 8 bits", [0, 0, 0, 2, 4, 6, 255, 255, 255], 8, (2, 4, 6))
show("colour, 16 bits", [0x0102, 0x0304, 0x0506, 0x0200, 0x0400, 0x0600], 16, (0x0102, 0x0304, 0x0506))
PYTHON
cat now
diff -u --label seen --label now - now <<'SEEN'
Pillow 13.0.0
grey, 1 bit, transparent is 0: alpha of each pixel
    pypng  [0, 0, 255]
    Pillow [0, 0, 255]
grey, 2 bits, transparent is 1: alpha of each pixel
    pypng  [255, 0, 255]
    Pillow [255, 255, 255]
grey, 4 bits, transparent is 5: alpha of each pixel
    pypng  [255, 0, 255]
    Pillow [255, 255, 255]
grey, 8 bits, transparent is 85: alpha of each pixel
    pypng  [255, 0, 255]
    Pillow [255, 0, 255]
grey, 16 bits, transparent is 21845: alpha of each pixel
    pypng  [65535, 0, 65535]
    Pillow [255, 255, 255]
colour, 8 bits, transparent is (2, 4, 6): alpha of each pixel
    pypng  [255, 0, 255]
    Pillow [255, 0, 255]
colour, 16 bits, transparent is (258, 772, 1286): alpha of each pixel
    pypng  [0, 65535]
    Pillow [255, 0]
SEEN
