"""The journal's format: what was written is read, and nothing else ever is."""

from __future__ import annotations

import struct

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import CorruptionError
from ingest.journal.format import (
    MARKER,
    MARKER_BYTES,
    SegmentHeader,
    decode_segment_header,
    encode_record,
    encode_segment_header,
    parse_records,
)
from ingest.model.records import Record, RecordKind

HEADER = SegmentHeader("default", "1", 7, 1_765_771_374_837_000)
PAYLOADS = [b"first", b"", MARKER_BYTES + b"inside a payload", b"x" * 300, b"last"]
RECORDS = [encode_record(RecordKind.FRAME, seq, 1000 + seq, payload) for seq, payload in enumerate(PAYLOADS, 1)]
BYTES = b"".join(RECORDS)


def test_records_round_trip_with_offsets() -> None:
    parsed = parse_records(BYTES, 64, final=True)
    assert [record.payload for record in parsed.records] == PAYLOADS
    assert [record.seq for record in parsed.records] == [1, 2, 3, 4, 5]
    assert parsed.records[-1].end_offset == 64 + len(BYTES)
    assert (parsed.consumed, parsed.corrupt_bytes) == (len(BYTES), 0)


@pytest.mark.parametrize("final", [True, False])
def test_truncation_at_every_byte_keeps_the_whole_records_before_it(final: bool) -> None:
    ends = [sum(map(len, RECORDS[:count])) for count in range(len(RECORDS) + 1)]
    for length in range(len(BYTES) + 1):
        parsed = parse_records(BYTES[:length], 0, final=final)
        whole = max(count for count, end in enumerate(ends) if end <= length)
        assert [record.payload for record in parsed.records] == PAYLOADS[:whole]
        assert parsed.corrupt_bytes == (length - ends[whole] if final else 0)
        assert parsed.consumed == (length if final else ends[whole])


@given(st.data())
def test_flipped_bytes_never_give_a_wrong_record(data: st.DataObject) -> None:
    damaged = bytearray(BYTES)
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] ^= data.draw(st.integers(1, 255))
    parsed = parse_records(bytes(damaged), 0, final=True)
    written = {(seq, payload) for seq, payload in enumerate(PAYLOADS, 1)}
    assert {(record.seq, record.payload) for record in parsed.records} <= written


def test_damage_in_the_middle_costs_that_record_only() -> None:
    damaged = bytearray(BYTES)
    damaged[len(RECORDS[0]) + 20] ^= 1
    parsed = parse_records(bytes(damaged), 0, final=True)
    assert [record.seq for record in parsed.records] == [1, 3, 4, 5]
    assert parsed.corrupt_bytes == len(RECORDS[1])


def test_junk_after_the_last_record_is_counted() -> None:
    parsed = parse_records(BYTES + b"junk", 0, final=True)
    assert (len(parsed.records), parsed.corrupt_bytes) == (5, 4)


def test_segment_header_round_trips() -> None:
    data = encode_segment_header(HEADER)
    assert decode_segment_header(data + BYTES, "one") == (HEADER, len(data))


def test_segment_header_damaged_anywhere_is_refused() -> None:
    data = encode_segment_header(HEADER)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        with pytest.raises(CorruptionError):
            decode_segment_header(bytes(damaged), "one")
        with pytest.raises(CorruptionError):
            decode_segment_header(data[:position], "one")


def test_segment_of_version_1_is_read_and_has_one_socket() -> None:
    """Bytes as version 1 wrote them: the kind took the four bytes of kind and socket."""
    made = bytearray(encode_segment_header(SegmentHeader("default", "1", 1, 5))[:-4])
    made[8] = 1
    header, end = decode_segment_header(bytes(made) + google_crc32c.value(bytes(made)).to_bytes(4, "little"), "old")
    assert (header.first_seq, end) == (1, len(made) + 4)
    checked = struct.pack("<IIQq", 3, RecordKind.FRAME, 7, 9)
    crc = google_crc32c.extend(google_crc32c.value(checked), b"abc")
    old = struct.pack("<IIIIQq", MARKER, 3, crc, RecordKind.FRAME, 7, 9) + b"abc"
    assert old == encode_record(RecordKind.FRAME, 7, 9, b"abc")
    assert parse_records(old, 0, final=True).records == [Record(RecordKind.FRAME, 7, 9, b"abc", len(old), 0)]


def test_record_of_the_other_socket_round_trips_and_a_third_is_no_record() -> None:
    record = encode_record(RecordKind.FRAME, 7, 9, b"abc", 1)
    assert parse_records(record, 0, final=True).records == [Record(RecordKind.FRAME, 7, 9, b"abc", len(record), 1)]
    assert not parse_records(encode_record(RecordKind.FRAME, 7, 9, b"abc", 2), 0, final=True).records
