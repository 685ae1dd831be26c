"""smdebug's event and index files, written in the training thread.

smdebug hands events to a thread over a bounded queue. If that thread dies (a full disk, a type it does not
know), the next flush waits for ever and training hangs. Its files are small or rare enough to write in line,
and an error then surfaces where it can be caught. A tensor's bytes go to the file as they lie in memory:
through protobuf's classes they would be copied four times, which is half of what a save costs.
"""

from __future__ import annotations

import struct
import time
from typing import Any

import numpy as np
from smdebug.core.locations import TensorLocation
from smdebug.core.modes import ModeKeys
from smdebug.core.tfevent.events_writer import EventsWriter
from smdebug.core.tfevent.proto.event_pb2 import Event
from smdebug.core.tfevent.proto.summary_pb2 import Summary
from smdebug.core.tfevent.proto.tensor_pb2 import TensorProto
from smdebug.core.tfevent.proto.tensor_shape_pb2 import TensorShapeProto
from smdebug.core.tfevent.util import _get_proto_dtype
from smdebug.core.tfrecord.record_writer import CHECKSUM_MAGIC_BYTES, RecordWriter, masked_crc32c
from smdebug.core.utils import get_relative_event_file_path, parse_worker_name_from_file
from smdebug.core.writer import FileWriter

# Its finalizer reads this attribute, and prints a traceback where the file could not be opened.
RecordWriter._writer = None


class InlineEventWriter:
    """Has the methods of smdebug's `EventFileWriter` that its `FileWriter` calls."""

    def __init__(self, path: str, index_writer: Any, write_checksum: bool) -> None:
        self._path = path
        self._index = index_writer
        self._events = EventsWriter(path=path, index_writer=index_writer, write_checksum=write_checksum)
        self._events.init()

    def name(self) -> str:
        """The event file's path."""
        return self._path

    def write_summary(self, summary: Any, step: int, timestamp: float | None = None) -> None:
        """Append an event that no index mentions (TensorBoard)."""
        self._events.write_event(_event(summary, step, timestamp))

    def write_summary_with_index(
        self,
        summary: Any,
        step: int,
        tname: str,
        mode: ModeKeys,
        mode_step: int,
        timestamp: float | None = None,
    ) -> None:
        """Append an event and note where it lies."""
        start, length = self._events.write_event(_event(summary, step, timestamp))
        self._note(tname, mode, mode_step, start, length)

    def write_tensor_with_index(
        self,
        value: Any,
        tensor: Any,
        content: Any,
        step: int,
        tname: str,
        mode: ModeKeys,
        mode_step: int,
        timestamp: float | None = None,
    ) -> None:
        """Append the event of one tensor: `value` and `tensor` are its messages without the `content`."""
        before, size = b"", len(content)
        # From the inside out; the order of a message's fields is free, so each ends with its longest one.
        for message, field in (
            (tensor, "tensor_content"),
            (value, "tensor"),
            (Summary(), "value"),
            (_event(None, step, timestamp), "summary"),
        ):
            number = message.DESCRIPTOR.fields_by_name[field].number
            head = message.SerializeToString() + _varint(number << 3 | 2) + _varint(size)
            before = head + before
            size += len(head)
        length = struct.pack("Q", size)
        # smdebug's own record writer leaves out the content's checksum as well.
        footer = struct.pack("I", masked_crc32c(CHECKSUM_MAGIC_BYTES))
        header = length + struct.pack("I", masked_crc32c(length))
        file = self._events.tfrecord_writer._writer
        start, _ = file.write(header + before)
        file.write(content)
        file.write(footer)
        self._events._num_outstanding_events += 1
        self._note(tname, mode, mode_step, start, len(header) + size + len(footer))

    def _note(self, tname: str, mode: ModeKeys, mode_step: int, start: int, length: int) -> None:
        relative = get_relative_event_file_path(self._path)
        worker = parse_worker_name_from_file(relative)
        location = TensorLocation(tname, mode.name, mode_step, relative, start, length, worker)
        self._index.add_index(location)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._events.flush()

    def close(self) -> None:
        """Move the finished file into its place."""
        self._events.close()


class StepWriter(FileWriter):  # type: ignore[misc]
    """smdebug's `FileWriter` without its thread, and independent of numpy's removed `tostring`."""

    _proto_writer: Any

    @property
    def proto_writer(self) -> InlineEventWriter:
        """The event file, opened at the first tensor."""
        if self._proto_writer is None:
            self._proto_writer = InlineEventWriter(
                self.event_file_path, self.index_writer, self.write_checksum
            )
        writer: InlineEventWriter = self._proto_writer
        return writer

    def write_tensor(
        self,
        tdata: Any,
        tname: str,
        write_index: bool = True,
        mode: ModeKeys = ModeKeys.GLOBAL,
        mode_step: int | None = None,
        timestamp: float | None = None,
    ) -> None:
        """Append one tensor."""
        array = np.asarray(tdata)
        mode, mode_step = self._check_mode_step(mode, mode_step, self.step)
        _, dtype = _get_proto_dtype(array.dtype)
        dimensions = [TensorShapeProto.Dim(size=size, name=f"{tname}_{size}") for size in array.shape]
        proto = TensorProto(dtype=dtype, tensor_shape=TensorShapeProto(dim=dimensions))
        value = Summary.Value(tag=tname, metadata=_metadata(mode, mode_step))
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        self.proto_writer.write_tensor_with_index(
            value, proto, content, self.step, tname, mode, mode_step, timestamp
        )


def _metadata(mode: ModeKeys, mode_step: int) -> Any:
    return FileWriter._get_metadata(mode, mode_step)


def _varint(value: int) -> bytes:
    """A number as protobuf writes it: seven bits a byte, the least first."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _event(summary: Any, step: int, timestamp: float | None) -> Any:
    event = Event(summary=summary) if summary is not None else Event()
    event.wall_time = timestamp if timestamp else time.time()
    event.step = step
    return event
