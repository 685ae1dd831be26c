"""Metrics as a TensorBoard event file, where the job asks for TensorBoard output.

The format is that of TFRecord around a protocol buffer with four fields; writing it takes less than importing
a library that does.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_DEFAULT: Final = "output/tensorboard"


def folder(environment: Mapping[str, str], base: Path) -> Path | None:
    """Where the job wants event files, from tensorboardoutputconfig.json; None where it wants none."""
    named = environment.get("TENSORBOARD_CONFIG_FILE_PATH")
    path = Path(named) if named else base / "input/config/tensorboardoutputconfig.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    return Path(str(content.get("LocalPath") or base / _DEFAULT))


class EventFile:
    """One file of scalars; every call appends and flushes."""

    def __init__(self, where: Path) -> None:
        where.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self.path = where / name
        self._append(_event(0, _bytes(3, b"brain.Event:2")))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """The scalars of one step, by tag."""
        scalars = (
            _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
            for tag, value in values.items()
        )
        self._append(_event(step, _bytes(5, b"".join(scalars))))

    def _append(self, data: bytes) -> None:
        length = struct.pack("<Q", len(data))
        record = length + struct.pack("<I", _masked(length)) + data + struct.pack("<I", _masked(data))
        with self.path.open("ab") as file:
            file.write(record)


def _event(step: int, what: bytes) -> bytes:
    # wall_time (double) is field 1, step (int64) field 2, file_version field 3, summary field 5
    return b"\x09" + struct.pack("<d", time.time()) + b"\x10" + _varint(step) + what


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _table() -> tuple[int, ...]:
    entries = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_CRC: Final = _table()


def _masked(data: bytes) -> int:
    """CRC-32C, rotated and shifted as TFRecord wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
