#!/bin/bash
# Valid TIFF files that Pillow 13.0.0 opens without an error, and whose pixels it gives wrongly.
#
# - A grey TIFF of 12 bits is nearly black in Pillow 13.0.0. Pillow opens it in the mode of 16 bits, I;16, and leaves
#   the numbers as they are: white is 4095 of 65535. It does scale 4 bits in a TIFF, and 12 bits in a PGM.
# - A big-endian TIFF of 32-bit numbers, deflated, has its bytes swapped twice in Pillow 13.0.0: 0.5 becomes 8.8e-44.
#   libtiff gives the numbers in the machine's order, and Pillow swaps them once more. Right are 16 bits, and 32 bits
#   that are little-endian or not compressed. Seen on little-endian machines.
# - A TIFF of 16-bit colour, channels apart and not compressed, is garbled in Pillow 13.0.0. Pillow reads each plane
#   as if it had 8 bits: the low and the high byte of a number become two pixels, and the second half of the plane is
#   not read. The same file with deflate, and the one with channels interleaved, are right.
# - A TIFF of grey with alpha, channels apart and deflated, is wholly transparent in Pillow 13.0.0. Pillow leaves the
#   alpha of its mode LA at 0. Colour with alpha, channels apart, it reads; grey with alpha, channels apart and not
#   compressed, raises ValueError.
# - A TIFF of signed 8-bit numbers wraps in Pillow 13.0.0: -1 becomes 255. Pillow ignores the sample format where it
#   says "signed" and there are 8 bits. It keeps the sign of 16 bits.
# - A grey TIFF of 16 bits whose 0 is white is a negative in Pillow 13.0.0. With 8 bits Pillow turns the greys round,
#   so that 0 is black; with 16 bits it does not.
# - A TIFF of Lab, channels apart, has other a and b in Pillow 13.0.0: their highest bit is turned round, 0 becomes -128. With
#   channels interleaved it is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
cd "$folder"
venv/bin/pip install -q --disable-pip-version-check pillow==13.0.0 numpy==2.2.6 tifffile==2026.3.3 imagecodecs==2026.3.6
venv/bin/python -I - >now <<'PYTHON'
import io

import numpy as np
import PIL
import tifffile
from PIL import Image


def show(what: str, values: object, **how: object) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=how.pop("byteorder", "<")) as writer:
        writer.write(values, metadata=None, **how)
    print(what)
    file.seek(0)
    print("    tifffile", tifffile.imread(file).squeeze().tolist())
    with Image.open(file) as image:
        print("    Pillow  ", image.mode, np.asarray(image)[0].tolist())


print("Pillow", PIL.__version__)

twelve = np.array([[0, 1365, 2730, 4095]], np.uint16)
show("TIFF, 12 bits", twelve, photometric="minisblack", bitspersample=12)
show("TIFF, 4 bits", (twelve // 273).astype(np.uint8), photometric="minisblack", bitspersample=4)
with Image.open(io.BytesIO(b"P5 4 1 4095\n" + twelve.astype(">u2").tobytes())) as image:
    print("PGM, 12 bits\n    Pillow  ", image.mode, np.asarray(image)[0].tolist())

floats, whole = np.array([[0, 0.25, 0.5, 1]], ">f4"), np.array([[0, 1, 2, 255]], ">i4")
deflate = {"photometric": "minisblack", "compression": "zlib"}
show("floats, big-endian, deflate", floats, byteorder=">", **deflate)
show("signed 32 bits, big-endian, deflate", whole, byteorder=">", **deflate)
show("unsigned 16 bits, big-endian, deflate", whole.astype(">u2"), byteorder=">", **deflate)
show("floats, little-endian, deflate", floats.astype("<f4"), **deflate)
show("floats, big-endian", floats, byteorder=">", photometric="minisblack")

colour = np.repeat(np.array([[[0, 1000, 21845, 65535]]], np.uint16), 3, axis=0)
show("channels apart", colour, photometric="rgb", planarconfig="separate")
show("channels apart, deflate", colour, photometric="rgb", planarconfig="separate", compression="zlib")
show("interleaved", np.moveaxis(colour, 0, 2), photometric="rgb", planarconfig="contig")

grey, alpha = [[0, 85, 170, 255]], [[255, 170, 85, 0]]
apart = {"planarconfig": "separate", "extrasamples": ["unassalpha"], "compression": "zlib"}
show("grey with alpha, deflate", np.array([grey, alpha], np.uint8), photometric="minisblack", **apart)
show("colour with alpha, deflate", np.array([grey, grey, grey, alpha], np.uint8), photometric="rgb", **apart)
try:
    apart["compression"] = None
    show("grey with alpha, not compressed", np.array([grey, alpha], np.uint8), photometric="minisblack", **apart)
except ValueError as error:
    print("    Pillow  ", error)

signed = np.array([[-128, -1, 0, 127]], np.int8)
show("signed, 8 bits", signed, photometric="minisblack")
show("signed, 16 bits", signed.astype(np.int16), photometric="minisblack")

grey = np.array([[0, 21845, 43690, 65535]], np.uint16)
show("8 bits, white is zero", (grey // 257).astype(np.uint8), photometric="miniswhite")
show("16 bits, white is zero", grey, photometric="miniswhite")

lab = np.array([[[128, 128]], [[20, 0]], [[226, 0]]], np.uint8)  # a and b are signed: 226 is -30
show("Lab, channels apart", lab, photometric="cielab", planarconfig="separate", compression="zlib")
show("Lab, interleaved", np.moveaxis(lab, 0, 2), photometric="cielab", planarconfig="contig", compression="zlib")
PYTHON
cat now
diff -u --label seen --label now - now <<'SEEN'
Pillow 13.0.0
TIFF, 12 bits
    tifffile [0, 1365, 2730, 4095]
    Pillow   I;16 [0, 1365, 2730, 4095]
TIFF, 4 bits
    tifffile [0, 5, 10, 15]
    Pillow   L [0, 85, 170, 255]
PGM, 12 bits
    Pillow   I [0, 21845, 43690, 65535]
floats, big-endian, deflate
    tifffile [0.0, 0.25, 0.5, 1.0]
    Pillow   F [0.0, 4.600462858378374e-41, 8.828180325246348e-44, 4.600602988224807e-41]
signed 32 bits, big-endian, deflate
    tifffile [0, 1, 2, 255]
    Pillow   I [0, 16777216, 33554432, -16777216]
unsigned 16 bits, big-endian, deflate
    tifffile [0, 1, 2, 255]
    Pillow   I;16B [0, 1, 2, 255]
floats, little-endian, deflate
    tifffile [0.0, 0.25, 0.5, 1.0]
    Pillow   F [0.0, 0.25, 0.5, 1.0]
floats, big-endian
    tifffile [0.0, 0.25, 0.5, 1.0]
    Pillow   F [0.0, 0.25, 0.5, 1.0]
channels apart
    tifffile [[0, 1000, 21845, 65535], [0, 1000, 21845, 65535], [0, 1000, 21845, 65535]]
    Pillow   RGB [[0, 0, 0], [0, 0, 0], [232, 232, 232], [3, 3, 3]]
channels apart, deflate
    tifffile [[0, 1000, 21845, 65535], [0, 1000, 21845, 65535], [0, 1000, 21845, 65535]]
    Pillow   RGB [[0, 0, 0], [3, 3, 3], [85, 85, 85], [255, 255, 255]]
interleaved
    tifffile [[0, 0, 0], [1000, 1000, 1000], [21845, 21845, 21845], [65535, 65535, 65535]]
    Pillow   RGB [[0, 0, 0], [3, 3, 3], [85, 85, 85], [255, 255, 255]]
grey with alpha, deflate
    tifffile [[0, 85, 170, 255], [255, 170, 85, 0]]
    Pillow   LA [[0, 0], [85, 0], [170, 0], [255, 0]]
colour with alpha, deflate
    tifffile [[0, 85, 170, 255], [0, 85, 170, 255], [0, 85, 170, 255], [255, 170, 85, 0]]
    Pillow   RGBA [[0, 0, 0, 255], [85, 85, 85, 170], [170, 170, 170, 85], [255, 255, 255, 0]]
grey with alpha, not compressed
    tifffile [[0, 85, 170, 255], [255, 170, 85, 0]]
    Pillow   unknown raw mode for given image mode
signed, 8 bits
    tifffile [-128, -1, 0, 127]
    Pillow   L [128, 255, 0, 127]
signed, 16 bits
    tifffile [-128, -1, 0, 127]
    Pillow   I [-128, -1, 0, 127]
8 bits, white is zero
    tifffile [0, 85, 170, 255]
    Pillow   L [255, 170, 85, 0]
16 bits, white is zero
    tifffile [0, 21845, 43690, 65535]
    Pillow   I;16 [0, 21845, 43690, 65535]
Lab, channels apart
    tifffile [[128, 128], [20, 0], [226, 0]]
    Pillow   LAB [[128, 148, 98], [128, 128, 128]]
Lab, interleaved
    tifffile [[128, 20, 226], [128, 0, 0]]
    Pillow   LAB [[128, 20, 226], [128, 0, 0]]
SEEN
