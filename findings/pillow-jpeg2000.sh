#!/bin/bash
# Valid JPEG 2000 files in which Pillow 13.0.0 gives white as grey or as black, without an error.
#
# - White is not white in Pillow 13.0.0 in a JPEG 2000 of 1 to 7 bits, and in a grey one of 10 to 15. Pillow shifts
#   the numbers up to 8 or 16 bits instead of scaling them: the white of 1 bit is 128 of 255, that of 4 bits 240. In
#   PNG and TIFF it scales 1 and 4 bits.
# - White is black in Pillow 13.0.0 in a JPEG 2000 of 9 bits, and in one of colour or with alpha of 9 to 16 bits.
#   Pillow rounds the numbers to 8 bits, and what rounds up to 256 wraps to 0: half a level below white and above.
#   Grey of 10 to 16 bits it opens with 16.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install -q --disable-pip-version-check pillow==13.0.0 numpy==2.2.6 imagecodecs==2026.3.6
venv/bin/python -I - >now <<'PYTHON'
import io

import imagecodecs
import numpy as np
import PIL
from PIL import Image


def show(bits: int, row: list[int], channels: int = 1) -> None:
    values = np.tile(np.array(row, np.uint8 if bits <= 8 else np.uint16), (8, 2))
    if channels > 1:
        values = np.repeat(values[..., None], channels, axis=2)
    data = imagecodecs.jpeg2k_encode(values, bitspersample=bits, reversible=True, level=0)
    print({1: "grey", 2: "grey with alpha", 3: "colour"}[channels] + f", {bits} bit{'s' * (bits > 1)}")
    print("    OpenJPEG", imagecodecs.jpeg2k_decode(data)[0, :4].tolist())
    with Image.open(io.BytesIO(data)) as image:
        print("    Pillow  ", image.mode, np.asarray(image)[0, :4].tolist())


print("Pillow", PIL.__version__)

for bits in (1, 2, 4, 7, 8, 10, 16):
    top = 2**bits - 1
    show(bits, [0, 0, top, top])
show(4, [0, 5, 10, 15], channels=3)

for bits, channels in ((9, 1), (9, 3), (12, 2), (12, 3), (16, 3), (12, 1)):
    top = 2**bits - 1
    show(bits, [0, top // 3, top - 2 ** (bits - 8), top], channels)
PYTHON
cat now
diff -u --label seen --label now - now <<'SEEN'
Pillow 13.0.0
grey, 1 bit
    OpenJPEG [0, 0, 1, 1]
    Pillow   L [0, 0, 128, 128]
grey, 2 bits
    OpenJPEG [0, 0, 3, 3]
    Pillow   L [0, 0, 192, 192]
grey, 4 bits
    OpenJPEG [0, 0, 15, 15]
    Pillow   L [0, 0, 240, 240]
grey, 7 bits
    OpenJPEG [0, 0, 127, 127]
    Pillow   L [0, 0, 254, 254]
grey, 8 bits
    OpenJPEG [0, 0, 255, 255]
    Pillow   L [0, 0, 255, 255]
grey, 10 bits
    OpenJPEG [0, 0, 1023, 1023]
    Pillow   I;16 [0, 0, 65472, 65472]
grey, 16 bits
    OpenJPEG [0, 0, 65535, 65535]
    Pillow   I;16 [0, 0, 65535, 65535]
colour, 4 bits
    OpenJPEG [[0, 0, 0], [5, 5, 5], [10, 10, 10], [15, 15, 15]]
    Pillow   RGB [[0, 0, 0], [80, 80, 80], [160, 160, 160], [240, 240, 240]]
grey, 9 bits
    OpenJPEG [0, 170, 509, 511]
    Pillow   L [0, 85, 255, 0]
colour, 9 bits
    OpenJPEG [[0, 0, 0], [170, 170, 170], [509, 509, 509], [511, 511, 511]]
    Pillow   RGB [[0, 0, 0], [85, 85, 85], [255, 255, 255], [0, 0, 0]]
grey with alpha, 12 bits
    OpenJPEG [[0, 0], [1365, 1365], [4079, 4079], [4095, 4095]]
    Pillow   LA [[0, 0], [85, 85], [255, 255], [0, 0]]
colour, 12 bits
    OpenJPEG [[0, 0, 0], [1365, 1365, 1365], [4079, 4079, 4079], [4095, 4095, 4095]]
    Pillow   RGB [[0, 0, 0], [85, 85, 85], [255, 255, 255], [0, 0, 0]]
colour, 16 bits
    OpenJPEG [[0, 0, 0], [21845, 21845, 21845], [65279, 65279, 65279], [65535, 65535, 65535]]
    Pillow   RGB [[0, 0, 0], [85, 85, 85], [255, 255, 255], [0, 0, 0]]
grey, 12 bits
    OpenJPEG [0, 1365, 4079, 4095]
    Pillow   I;16 [0, 21840, 65264, 65520]
SEEN
