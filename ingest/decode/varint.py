"""Read single varints of the protobuf wire format. Pure."""

from __future__ import annotations

VARINT_BYTES_MAX = 10


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Read the varint at an offset; return it as a signed 64-bit number, and the offset after it.

    Raises
    ------
    ValueError
        If it is longer than a varint may be.
    """
    value = data[at]
    if value < 128:
        return value, at + 1
    value &= 127
    for place in range(1, VARINT_BYTES_MAX):
        byte = data[at + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            value &= 2**64 - 1
            return value - 2**64 if value >= 2**63 else value, at + place + 1
    raise ValueError(f"varint of more than {VARINT_BYTES_MAX} bytes")
