"""Blocks: what is decoded is what was encoded, and nothing else is taken for a block."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import CorruptionError, VersionError
from ingest.transport.broker.blocks import BLOCK_BYTES_MAX, Block, decode_block, subject_of

SEGMENT = "20261130-000000000000001"
BLOCK = Block("desk.1", "2", SEGMENT, b"header", 4_096, b"some bytes of a segment" * 9, is_last=False)


@given(
    st.builds(
        Block,
        collector=st.from_regex(r"[A-Za-z0-9_.-]{1,40}", fullmatch=True),
        stream=st.from_regex(r"[1-9][0-9]{0,2}", fullmatch=True),
        segment=st.just(SEGMENT),
        header=st.binary(max_size=300),
        offset=st.integers(0, 2**40),
        data=st.binary(max_size=500),
        is_last=st.booleans(),
    )
)
@settings(max_examples=50)
def test_block_is_decoded_as_it_was(block: Block) -> None:
    assert decode_block(block.encode()) == block
    assert block.end == block.offset + len(block.data)


def test_block_that_is_cut_longer_or_altered_anywhere_is_refused() -> None:
    whole = BLOCK.encode()
    for size in range(len(whole)):
        with pytest.raises(CorruptionError):
            decode_block(whole[:size])
    for at in range(len(whole)):
        with pytest.raises(CorruptionError):
            decode_block(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    for other in (whole + b"x", b"", b"{}", bytes(200), b"TKB" + bytes(100)):
        with pytest.raises(CorruptionError):
            decode_block(other)


def test_block_of_another_file_is_refused() -> None:
    foreign = Block("default", "1", "../../etc/passwd", b"", 0, b"x", is_last=True)
    with pytest.raises(CorruptionError, match="names segment"):
        decode_block(foreign.encode())


def test_block_of_a_newer_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.transport.broker.blocks.VERSION", 2)
    newer = BLOCK.encode()
    monkeypatch.undo()
    with pytest.raises(VersionError, match="block has version 2, this program reads 1: install a newer tickline"):
        decode_block(newer)


def test_repetition_has_the_same_id_and_the_end_of_a_segment_another() -> None:
    again = Block("desk.1", "2", SEGMENT, b"", 4_096, b"other", is_last=True)
    assert BLOCK.message_id == again.message_id == f"desk.1/2/{SEGMENT}/4096"
    assert Block("desk.1", "2", SEGMENT, b"", 4_096, b"", is_last=True).message_id != again.message_id


def test_period_in_a_name_does_not_divide_a_subject() -> None:
    assert subject_of("desk.1", "2").split(".") == ["tick", "desk~1", "2"]
    assert BLOCK_BYTES_MAX + 2**12 < 2**20  # the most that a broker takes by default
