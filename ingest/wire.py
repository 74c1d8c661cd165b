"""Wire: many serialised FeedResponses as Arrow columns. Pure; knows the bytes, not what they mean.

Reading by ptars costs a fifth of what protobuf's own attributes do. It decides whether a frame
parses, and of each frame alone, so that a replay decides the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from ptars import HandlerPool, PtarsConfig

from ingest.model import Mask
from ingest.proto import upstox_feed_v3_pb2 as pb

# Fields that nothing here reads: left out of the description, they are skipped, a tenth of the time.
_UNREAD = {
    "LTPC": {"iep"},
    "MarketFullFeed": {"iep", "rp", "ieq", "iiqTotal", "iiqM", "casEligible"},
    "FeedResponse": {"marketInfo"},  # by protobuf, of the few frames that have one
}


def _description_of_what_is_read() -> FileDescriptor:
    file = FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(file)
    for message in file.message_type:
        read = [field for field in message.field if field.name not in _UNREAD.get(message.name, ())]
        del message.field[:]
        message.field.extend(read)
    del file.dependency[:]  # the wrapper type of LTPC.iep
    pool = DescriptorPool()
    pool.Add(file)
    return pool.FindFileByName(file.name)


# A map entry without a value is legal; said to be impossible, it would end the Rust code with a panic.
_FILE = _description_of_what_is_read()
_HANDLERS = HandlerPool([_FILE], config=PtarsConfig(map_value_nullable=True))
read_columns: Callable[[list[bytes]], Any] = _HANDLERS.get_for_message(
    _FILE.message_types_by_name["FeedResponse"]
).list_to_record_batch


class Message:
    """A message field of many feeds at once. What is absent reads as zero, as in protobuf.

    Arrow leaves it open what a column holds where its message is absent, so this does not rely on it.
    """

    def __init__(self, array: Any, within: Mask | None = None) -> None:
        self._array = array
        if array.null_count:
            bitmap = np.frombuffer(array.buffers()[0], np.uint8)
            self.present: Mask = np.unpackbits(bitmap, count=len(array), bitorder="little").view(np.bool_)
        else:
            self.present = np.ones(len(array), np.bool_)
        if within is not None:
            self.present &= within
        self.everywhere = bool(self.present.all())
        self.somewhere = self.everywhere or bool(self.present.any())

    def message(self, name: str) -> Message:
        """Go to a message inside of this one."""
        return Message(self._array.field(name), self.present)

    def array(self, name: str) -> Any:
        """Return the Arrow array of a repeated field."""
        return self._array.field(name)

    def numbers(self, name: str) -> Any:
        """Return a scalar field."""
        values = self._array.field(name).to_numpy()
        return values if self.everywhere else np.where(self.present, values, values.dtype.type(0))
