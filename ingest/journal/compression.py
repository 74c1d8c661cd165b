"""Zstandard for closed segments: pack one, and read one as far as it is intact.

Owns the library: that of Python from 3.14 on, and its backport before. Must not know what is in a segment.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import BinaryIO

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZstdError = zstd.ZstdError
PACKED_MAGIC = b"\x28\xb5\x2f\xfd"  # begins a frame (RFC 8878, 3.1.1)
FRAME_HEADER_BYTES_MAX = 18  # RFC 8878, 3.1.1.1
LEVEL = 3  # three to four times smaller at 200 MB/s; higher levels gain a few percent
READ_BYTES = 2**17
BLOCK_BYTES = 2**17  # the largest of Zstandard: what precedes damage is given a block at a time


def pack(raw: BinaryIO, packed: BinaryIO, size: int) -> int:
    """Write a stream of `size` bytes as one frame that holds its size and a checksum; return the bytes written."""
    compressor = zstd.ZstdCompressor(
        options={zstd.CompressionParameter.compression_level: LEVEL, zstd.CompressionParameter.checksum_flag: 1}
    )
    compressor.set_pledged_input_size(size)
    written = 0
    while data := raw.read(READ_BYTES):
        written += packed.write(compressor.compress(data))
    return written + packed.write(compressor.flush())


def unpacked_size(packed: BinaryIO) -> int:
    """Return the size that a frame says it holds; the stream is read from its beginning again afterwards.

    Raises
    ------
    ZstdError
        If the frame's header is damaged or lacks the size.
    """
    info = zstd.get_frame_info(packed.read(FRAME_HEADER_BYTES_MAX))
    packed.seek(0)
    if info.decompressed_size is None:
        raise ZstdError("the frame does not say how much it holds")
    return int(info.decompressed_size)


def unpack(packed: BinaryIO) -> Iterator[bytes]:
    """Yield what a frame holds, in parts; one that was cut short ends early.

    Raises
    ------
    ZstdError
        Where the frame is damaged, after all blocks before.
    """
    decompressor = zstd.ZstdDecompressor()
    while not decompressor.eof:
        data = packed.read(READ_BYTES) if decompressor.needs_input else b""
        if decompressor.needs_input and not data:
            return
        if part := decompressor.decompress(data, BLOCK_BYTES):
            yield part


def unpacked(packed: BinaryIO) -> BinaryIO:
    """Return what a frame holds as a stream; its reads raise as `unpack` does."""
    return io.BufferedReader(_Unpacked(packed))


class _Unpacked(io.RawIOBase):
    def __init__(self, packed: BinaryIO) -> None:
        self._parts = unpack(packed)
        self._part = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._part = self._part or next(self._parts, b"")
        size = min(len(self._part), len(buffer))
        buffer[:size], self._part = self._part[:size], self._part[size:]
        return size
