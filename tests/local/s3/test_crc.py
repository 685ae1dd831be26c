from __future__ import annotations

import os
import zlib

import pytest

from local.s3.crc import CRC32, CRC32C, CRC64NVME, Crc


def slowly(polynomial: int, width: int, data: bytes) -> int:
    mask = (1 << width) - 1
    register = mask
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (polynomial if register & 1 else 0)
    return register ^ mask


@pytest.mark.parametrize(
    ("crc", "check"), [(CRC32, 0xCBF43926), (CRC32C, 0xE3069283), (CRC64NVME, 0xAE8B14860A799888)]
)
def test_the_check_value_of_each_catalogue(crc: Crc, check: int) -> None:
    assert crc.update(b"123456789") == check


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 1000, 4097, 100_003])
def test_every_size_is_as_bit_by_bit(size: int) -> None:
    data = os.urandom(size)
    assert CRC32.update(data) == zlib.crc32(data)
    assert CRC32C.update(data) == slowly(0x82F63B78, 32, data)
    assert CRC64NVME.update(data) == slowly(0x9A6C9329AC4BC9B5, 64, data)


@pytest.mark.parametrize("crc", [CRC32, CRC32C, CRC64NVME])
@pytest.mark.parametrize(("first", "second"), [(0, 10), (10, 0), (300, 5), (5, 300), (70_000, 1_500_000)])
def test_pieces_are_as_the_whole(crc: Crc, first: int, second: int) -> None:
    data = os.urandom(first + second)
    whole = crc.update(data)
    assert crc.update(data[first:], crc.update(data[:first])) == whole
    assert crc.combine(crc.update(data[:first]), crc.update(data[first:]), second) == whole
