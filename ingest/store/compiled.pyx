# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Encode tick rows as binary COPY: the compiled form of `copy_format`, which says what the bytes mean. Pure.

It walks the rows once and keeps their order; `tests/unit/store/test_copy_format.py` holds both forms equal.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import numpy as np

from ingest.model.ticks import TICK_COLUMNS, ZERO_IS_NULL

cdef extern from *:
    """
    #define big16 __builtin_bswap16
    #define big32 __builtin_bswap32
    #define big64 __builtin_bswap64
    """
    uint16_t big16(uint16_t) noexcept nogil
    uint32_t big32(uint32_t) noexcept nogil
    uint64_t big64(uint64_t) noexcept nogil

cdef enum:
    COLUMNS = 28
    ROW_BYTES_MAX = 2 + COLUMNS * 12

cdef enum:
    TIMESTAMPTZ, INT8, INT4, FLOAT8, BOOL

cdef int64_t EPOCH_US = 946_684_800_000_000  # 1 January 2000, from which the server counts
cdef int[COLUMNS] KIND
cdef uint8_t[COLUMNS] ZERO_IS_UNSENT
assert len(TICK_COLUMNS) == COLUMNS
for _column, (_name, _kind) in enumerate(TICK_COLUMNS):
    KIND[_column] = {"timestamptz": TIMESTAMPTZ, "int8": INT8, "int4": INT4, "float8": FLOAT8, "bool": BOOL}[_kind]
    ZERO_IS_UNSENT[_column] = _name in ZERO_IS_NULL


cdef double *rows_of(object values, Py_ssize_t *rows) except NULL:
    """Return where the rows begin, and how many there are."""
    cdef Py_buffer view
    PyObject_GetBuffer(values, &view, PyBUF_WRITABLE)
    cdef Py_ssize_t size = view.len
    cdef void *at = view.buf
    PyBuffer_Release(&view)
    if size % (COLUMNS * sizeof(double)) or values.dtype != np.float64:
        raise ValueError(f"{size} bytes are no rows of {COLUMNS} columns of float64")
    rows[0] = size // (COLUMNS * sizeof(double))
    return <double *>at


def nullify(values):
    """Replace infinities, and zeros that mean "not sent", by NULL, in place."""
    cdef Py_ssize_t rows = 0, at
    cdef double *value = rows_of(values, &rows)
    for at in range(rows * COLUMNS):
        if value[at] == INFINITY or value[at] == -INFINITY or (value[at] == 0 and ZERO_IS_UNSENT[at % COLUMNS]):
            value[at] = NAN


cdef inline uint8_t *put32(uint8_t *at, uint32_t value) noexcept:
    value = big32(value)
    memcpy(at, &value, 4)
    return at + 4


cdef inline uint8_t *put64(uint8_t *at, uint64_t value) noexcept:
    value = big64(value)
    memcpy(at, &value, 8)
    return at + 8


def encode(values):
    """Return rows as the body of a binary COPY, without header and trailer, in the order given."""
    cdef Py_ssize_t rows = 0, row
    cdef double *value = rows_of(values, &rows)
    cdef int column, kind
    cdef uint64_t bits
    cdef uint16_t count = big16(COLUMNS)
    encoded = PyBytes_FromStringAndSize(NULL, rows * ROW_BYTES_MAX)
    cdef uint8_t *start = <uint8_t *>PyBytes_AS_STRING(encoded)
    cdef uint8_t *at = start
    for row in range(rows):
        memcpy(at, &count, 2)
        at += 2
        for column in range(COLUMNS):
            if value[0] != value[0]:
                at = put32(at, 0xFFFFFFFF)
            else:
                kind = KIND[column]
                if kind == FLOAT8:
                    memcpy(&bits, value, 8)
                    at = put64(put32(at, 8), bits)
                elif kind == INT8:
                    at = put64(put32(at, 8), <uint64_t><int64_t>value[0])
                elif kind == TIMESTAMPTZ:
                    at = put64(put32(at, 8), <uint64_t>(<int64_t>value[0] - EPOCH_US))
                elif kind == INT4:
                    at = put32(put32(at, 4), <uint32_t><int32_t>value[0])
                else:
                    at = put32(at, 1)
                    at[0] = value[0] != 0
                    at += 1
            value += 1
    return encoded[:at - start]
