"""Packed segments are restored; a damaged or cut one gives everything before the damage."""

from __future__ import annotations

import io
import random

import pytest

from ingest.journal.compression import BLOCK_BYTES, ZstdError, pack, unpack, unpacked, unpacked_size

RAW = random.Random(7).randbytes(5 * BLOCK_BYTES + 3)


def packed(raw: bytes) -> bytes:
    file = io.BytesIO()
    assert pack(io.BytesIO(raw), file, len(raw)) == len(file.getvalue())
    return file.getvalue()


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, len(RAW)])
def test_packed_stream_holds_its_size_and_comes_back(size: int) -> None:
    file = io.BytesIO(packed(RAW[:size]))
    assert unpacked_size(file) == size
    assert b"".join(unpack(file)) == RAW[:size]
    file.seek(0)
    stream = unpacked(file)
    assert stream.read(10) + stream.read(7) + stream.read() == RAW[:size] and stream.read(1) == b""


def test_cut_stream_gives_what_it_has() -> None:
    whole = packed(RAW)
    for cut in (20, len(whole) // 2, len(whole) - 1):
        found = b"".join(unpack(io.BytesIO(whole[:cut])))
        assert RAW.startswith(found) and len(found) > cut - 2 * BLOCK_BYTES


def test_damaged_stream_gives_the_blocks_before_the_damage() -> None:
    found: list[bytes] = []
    damaged = bytearray(packed(RAW))
    at = 4 * BLOCK_BYTES
    damaged[at : at + BLOCK_BYTES] = bytes(BLOCK_BYTES)
    with pytest.raises(ZstdError):
        for part in unpack(io.BytesIO(damaged)):
            found.append(part)
    assert b"".join(found)[: 3 * BLOCK_BYTES] == RAW[: 3 * BLOCK_BYTES]


@pytest.mark.parametrize("text", [b"", b"no frame at all", packed(b"x")[:5]])
def test_header_that_is_none_is_an_error(text: bytes) -> None:
    with pytest.raises(ZstdError):
        unpacked_size(io.BytesIO(text))
