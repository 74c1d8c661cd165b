# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Read frames into columns: the compiled decoder. Pure.

It walks the bytes of each frame once and writes what it finds into columns. It decides nothing about a frame that
is in any way special: such a frame is `unsure`, and protobuf decides. What it does read, protobuf accepts, and reads
alike (`plain` is the same over protobuf's own classes; `tests/unit/decode/test_decoders_agree.py` compares the two).

How protobuf's rules are kept (Protocol Buffers, "Encoding"):

    fields in any order             each message is read by a loop over its tags
    a field twice, messages merged  the values are written into the same row, so the last one counts
    a field that is not known       skipped by its wire type; one of a known number with another wire type as well
    another member of a oneof       unsure: the member before it must be forgotten
    groups, numbers out of range,
    varints and lengths too long    unsure
    text that is not UTF-8          unsure
    a key twice in a frame          unsure: the last one counts
    an unknown field beside a key   unsure: the whole entry of the map is then unknown

Every read is checked against the end of the message that it is in. Messages are nested to a fixed depth, each level
by a function of its own, so no input can recurse. Nothing is allocated per update: columns are allocated per call,
and the text of a key is made when it is first seen.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Calloc
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from ingest.decode.columns import Columns
from ingest.decode.frame_limits import FIELDS_MAX, KEYS_MAX, OTHERS_MAX
from ingest.market.time import CURRENT_MS_MAX, CURRENT_MS_MIN
from ingest.model.frames import Candles, FrameType, Mode, Updates
from ingest.model.ticks import CARRIED_NAMES

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    object PyUnicode_DecodeUTF8(const char *text, Py_ssize_t size, const char *errors)

cdef int64_t FIELDS = FIELDS_MAX, KEYS = KEYS_MAX, OTHERS = OTHERS_MAX
cdef int64_t FIRST_MS = CURRENT_MS_MIN, LAST_MS = CURRENT_MS_MAX
cdef int MARKET_INFO = FrameType.MARKET_INFO, OPTION_GREEKS = Mode.OPTION_GREEKS

# The columns of `Updates.carried`, in the order of the table.
cdef enum:
    OI, ATP, TBQ, TSQ, BID, BID_QTY, ASK, ASK_QTY, IV, DELTA, GAMMA, THETA, VEGA, RHO, DAY_OPEN, DAY_HIGH, DAY_LOW
    PREV_CLOSE, CARRIED

assert CARRIED_NAMES == (
    "oi", "atp", "tbq", "tsq", "bid", "bid_qty", "ask", "ask_qty", "iv", "delta", "gamma", "theta", "vega", "rho",
    "day_open", "day_high", "day_low", "prev_close",
)

# What `carried` holds where nothing was sent: zero for what reads as zero, NaN for the members of a group.
cdef double[CARRIED] NOT_SENT
for _column, _name in enumerate(CARRIED_NAMES):
    NOT_SENT[_column] = 0.0 if _name in {"oi", "atp", "iv", "delta", "gamma", "theta", "vega", "rho", "prev_close"} \
        else float("nan")

cdef int64_t _fields = 0  # of the frame that is read, on all levels
cdef double *_book = NULL  # where the book of the next update is written
cdef int _levels = 0  # so many levels of it

# Members of the oneofs.
cdef enum:
    NONE, LTPC, FULL, FIRST_LEVEL, MARKET, INDEX


cdef struct Text:
    const uint8_t *at
    Py_ssize_t size


cdef struct Candle:
    Text interval
    double open
    double high
    double low
    double close
    int64_t volume
    int64_t ts


cdef struct Quote:
    double bid
    double ask
    int64_t bid_qty
    int64_t ask_qty


cdef struct Update:
    Text key
    int member  # of the oneof in `Feed`
    int full_member  # of the oneof in `FullFeed`
    int32_t mode
    bint has_depth
    bint has_day
    bint has_minute
    double ltp
    double tbq
    double tsq
    int64_t ltt
    int64_t ltq
    int64_t vtt
    Candle day
    Candle minute
    Quote best
    int level  # of the book, that is read next
    double[CARRIED] carried


# --- Values -----------------------------------------------------------------------------------------------------
# Each function reads one value that begins at `at` and may not pass `end`. It returns where the value ends;
# NULL: unsure.

cdef inline const uint8_t *read_varint(const uint8_t *at, const uint8_t *end, uint64_t *value, int bytes_max) noexcept:
    """Read a varint of at most so many bytes, in 64 bits."""
    if at < end and at[0] < 128:
        value[0] = at[0]
        return at + 1
    return read_long_varint(at, end, value, bytes_max)


cdef const uint8_t *read_long_varint(const uint8_t *at, const uint8_t *end, uint64_t *value, int bytes_max) noexcept:
    cdef uint64_t found = 0, byte
    cdef int shift = 0
    while at < end and shift < 7 * bytes_max:
        byte = at[0]
        at += 1
        found |= (byte & 127) << shift
        if byte < 128:
            value[0] = found
            return at if shift < 63 or byte <= 1 else NULL
        shift += 7
    return NULL


cdef inline const uint8_t *read_int(const uint8_t *at, const uint8_t *end, int64_t *value) noexcept:
    return read_varint(at, end, <uint64_t *>value, 10)


cdef inline const uint8_t *read_enum(const uint8_t *at, const uint8_t *end, int32_t *value) noexcept:
    """Read an enum; protobuf keeps the lower 32 bits."""
    cdef uint64_t number = 0
    at = read_varint(at, end, &number, 10)
    value[0] = <int32_t>number
    return at


cdef inline const uint8_t *read_double(const uint8_t *at, const uint8_t *end, double *value) noexcept:
    if end - at < 8:
        return NULL
    memcpy(value, at, 8)
    return at + 8


cdef inline const uint8_t *read_length(const uint8_t *at, const uint8_t *end, const uint8_t **stop) noexcept:
    """Read the length before a text or a message; `stop` is where that ends."""
    cdef uint64_t size = 0
    at = read_varint(at, end, &size, 5)
    if at == NULL or size > <uint64_t>(end - at):
        return NULL
    stop[0] = at + size
    return at


cdef inline const uint8_t *read_tag(const uint8_t *at, const uint8_t *end, uint32_t *tag) noexcept:
    """Read the tag of a field, and count the field."""
    global _fields
    cdef uint64_t found = 0
    at = read_varint(at, end, &found, 5)
    if found >> 32 or found < 8:
        return NULL
    tag[0] = <uint32_t>found
    _fields += 1
    return at


cdef const uint8_t *skip(const uint8_t *at, const uint8_t *end, uint32_t tag) noexcept:
    """Step over the value of a field that is not needed."""
    cdef uint64_t number = 0
    cdef const uint8_t *stop = NULL
    cdef int kind = tag & 7
    if kind == 0:
        return read_varint(at, end, &number, 10)
    if kind == 2:
        return <const uint8_t *>NULL if read_length(at, end, &stop) == NULL else stop
    if kind == 1:
        return at + 8 if end - at >= 8 else NULL
    if kind == 5:
        return at + 4 if end - at >= 4 else NULL
    return NULL  # a group


cdef const uint8_t *read_text(const uint8_t *at, const uint8_t *end, Text *text) noexcept:
    """Read a text that must be UTF-8."""
    cdef const uint8_t *stop = NULL
    at = read_length(at, end, &stop)
    if at == NULL:
        return NULL
    text.at, text.size = at, stop - at
    while at < stop and at[0] < 128:
        at += 1
    if at < stop:
        try:
            PyUnicode_DecodeUTF8(<const char *>text.at, text.size, NULL)
        except UnicodeDecodeError:
            return NULL
    return stop


cdef inline bint equals(Text text, const char *wanted, Py_ssize_t size) noexcept:
    return text.size == size and memcmp(text.at, wanted, size) == 0


# --- Messages: the same, each with its length before it ------------------------------------------------------------

cdef const uint8_t *read_double_value(const uint8_t *at, const uint8_t *end) noexcept:
    """Check a `DoubleValue`; its value is not needed."""
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at != NULL:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_ltpc(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 1):
            at = read_double(at, end, &update.ltp)
        elif tag == (2 << 3):
            at = read_int(at, end, &update.ltt)
        elif tag == (3 << 3):
            at = read_int(at, end, &update.ltq)
        elif tag == (4 << 3 | 1):
            at = read_double(at, end, &update.carried[PREV_CLOSE])
        elif tag == (5 << 3 | 2):
            at = read_double_value(at, end)
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_quote(const uint8_t *at, const uint8_t *end, Quote *quote) noexcept:
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3):
            at = read_int(at, end, &quote.bid_qty)
        elif tag == (2 << 3 | 1):
            at = read_double(at, end, &quote.bid)
        elif tag == (3 << 3):
            at = read_int(at, end, &quote.ask_qty)
        elif tag == (4 << 3 | 1):
            at = read_double(at, end, &quote.ask)
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_levels(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    """Read the first level of a book, and as many as are wanted; check the others."""
    cdef uint32_t tag = 0
    cdef Quote other
    cdef Quote *quote
    cdef double *book
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            quote = &other if update.has_depth else &update.best
            update.has_depth = True
            if update.level >= _levels:
                at = read_quote(at, end, quote)
                continue
            memset(quote, 0, sizeof(Quote))
            at = read_quote(at, end, quote)
            book = _book + 4 * update.level
            book[0], book[1] = quote.bid, <double>quote.bid_qty
            book[2], book[3] = quote.ask, <double>quote.ask_qty
            update.level += 1
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_greeks(const uint8_t *at, const uint8_t *end, double *carried) noexcept:
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 1):
            at = read_double(at, end, &carried[DELTA])
        elif tag == (2 << 3 | 1):
            at = read_double(at, end, &carried[THETA])
        elif tag == (3 << 3 | 1):
            at = read_double(at, end, &carried[GAMMA])
        elif tag == (4 << 3 | 1):
            at = read_double(at, end, &carried[VEGA])
        elif tag == (5 << 3 | 1):
            at = read_double(at, end, &carried[RHO])
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_candle(const uint8_t *at, const uint8_t *end, Candle *candle) noexcept:
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    memset(candle, 0, sizeof(Candle))
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            at = read_text(at, end, &candle.interval)
        elif tag == (2 << 3 | 1):
            at = read_double(at, end, &candle.open)
        elif tag == (3 << 3 | 1):
            at = read_double(at, end, &candle.high)
        elif tag == (4 << 3 | 1):
            at = read_double(at, end, &candle.low)
        elif tag == (5 << 3 | 1):
            at = read_double(at, end, &candle.close)
        elif tag == (6 << 3):
            at = read_int(at, end, &candle.volume)
        elif tag == (7 << 3):
            at = read_int(at, end, &candle.ts)
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_candles(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    """Read the first candle "1d" and the first "I1", the last completed minute; check the others."""
    cdef uint32_t tag = 0
    cdef Candle candle
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            at = read_candle(at, end, &candle)
            if not update.has_day and equals(candle.interval, b"1d", 2):
                update.has_day, update.day = True, candle
            elif not update.has_minute and equals(candle.interval, b"I1", 2):
                update.has_minute, update.minute = True, candle
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_market(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    """Read a `MarketFullFeed`."""
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            at = read_ltpc(at, end, update)
        elif tag == (2 << 3 | 2):
            at = read_levels(at, end, update)
        elif tag == (3 << 3 | 2):
            at = read_greeks(at, end, update.carried)
        elif tag == (4 << 3 | 2):
            at = read_candles(at, end, update)
        elif tag == (5 << 3 | 1):
            at = read_double(at, end, &update.carried[ATP])
        elif tag == (6 << 3):
            at = read_int(at, end, &update.vtt)
        elif tag == (7 << 3 | 1):
            at = read_double(at, end, &update.carried[OI])
        elif tag == (8 << 3 | 1):
            at = read_double(at, end, &update.carried[IV])
        elif tag == (9 << 3 | 1):
            at = read_double(at, end, &update.tbq)
        elif tag == (10 << 3 | 1):
            at = read_double(at, end, &update.tsq)
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_index(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    """Read an `IndexFullFeed`."""
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            at = read_ltpc(at, end, update)
        elif tag == (2 << 3 | 2):
            at = read_candles(at, end, update)
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_first_level(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    """Read a `FirstLevelWithGreeks`."""
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            at = read_ltpc(at, end, update)
        elif tag == (2 << 3 | 2):
            at = read_quote(at, end, &update.best)
            update.has_depth = True
        elif tag == (3 << 3 | 2):
            at = read_greeks(at, end, update.carried)
        elif tag == (4 << 3):
            at = read_int(at, end, &update.vtt)
        elif tag == (5 << 3 | 1):
            at = read_double(at, end, &update.carried[OI])
        elif tag == (6 << 3 | 1):
            at = read_double(at, end, &update.carried[IV])
        else:
            at = skip(at, end, tag)
    return at


cdef inline bint choose(int *member, int chosen) noexcept:
    """Choose the member of a oneof; False if another one was chosen before."""
    if member[0] != NONE and member[0] != chosen:
        return False
    member[0] = chosen
    return True


cdef const uint8_t *read_full(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    """Read a `FullFeed`."""
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            at = read_market(at, end, update) if choose(&update.full_member, MARKET) else NULL
        elif tag == (2 << 3 | 2):
            at = read_index(at, end, update) if choose(&update.full_member, INDEX) else NULL
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_feed(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    """Read a `Feed`."""
    cdef uint32_t tag = 0
    at = read_length(at, end, &end)
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            at = read_ltpc(at, end, update) if choose(&update.member, LTPC) else NULL
        elif tag == (2 << 3 | 2):
            at = read_full(at, end, update) if choose(&update.member, FULL) else NULL
        elif tag == (3 << 3 | 2):
            at = read_first_level(at, end, update) if choose(&update.member, FIRST_LEVEL) else NULL
        elif tag == (4 << 3):
            at = read_enum(at, end, &update.mode)
        else:
            at = skip(at, end, tag)
    return at


cdef const uint8_t *read_entry(const uint8_t *at, const uint8_t *end, Update *update) noexcept:
    """Read one entry of the map `feeds`."""
    cdef uint32_t tag = 0
    cdef const uint8_t *stop = NULL
    at = read_length(at, end, &end)
    memset(update, 0, sizeof(Update))
    memcpy(update.carried, NOT_SENT, sizeof(NOT_SENT))
    update.key.at = at
    while at != NULL and at < end:
        at = read_tag(at, end, &tag)
        if at == NULL:
            break
        if tag == (1 << 3 | 2):
            at = read_length(at, end, &stop)
            if at == NULL:
                break
            update.key.at, update.key.size = at, stop - at
            at = stop
        elif tag == (2 << 3 | 2):
            at = read_feed(at, end, update)
        else:
            at = NULL
    return at


cdef int64_t count_entries(const uint8_t *at, const uint8_t *end) noexcept:
    """Return the number of entries of a frame; -1 if the frame is unsure."""
    cdef uint32_t tag = 0
    cdef int64_t entries = 0, others = 0
    while at < end:
        at = read_tag(at, end, &tag)
        if at == NULL or tag == (4 << 3 | 2):  # `marketInfo`
            return -1
        at = skip(at, end, tag)
        if tag == (2 << 3 | 2):
            entries += 1
        else:
            others += 1
        if at == NULL or entries > KEYS or others > OTHERS:
            return -1
    return entries


# --- Keys -------------------------------------------------------------------------------------------------------

# The text of each key seen, so that it is made once; a table with open addressing.
cdef struct Slot:
    PyObject *text
    uint32_t hash
    uint32_t frame  # the last frame that had the key

cdef enum:
    SLOTS = 1 << 15
    TEXTS_MAX = 1 << 14  # the table is emptied between two frames when it has more, or more bytes of text
    TEXT_BYTES_MAX = 1 << 22

cdef Slot *_slots = NULL
cdef uint32_t _frame = 0
cdef int64_t _texts = 0, _text_bytes = 0


cdef void begin_frame() noexcept:
    """Give the next frame its number, and empty the table of keys if it is too full."""
    global _frame, _texts, _text_bytes
    cdef int place
    _frame += 1
    if _frame and _texts <= TEXTS_MAX and _text_bytes <= TEXT_BYTES_MAX:
        return
    for place in range(SLOTS):
        if _slots[place].text != NULL:
            Py_DECREF(<object>_slots[place].text)
    memset(_slots, 0, SLOTS * sizeof(Slot))
    _frame, _texts, _text_bytes = 1, 0, 0


cdef inline uint32_t hash_of(Text text) noexcept:
    """Hash bytes, eight at a time."""
    cdef uint64_t found = <uint64_t>text.size, word
    cdef Py_ssize_t at = 0
    while at < text.size:
        word = 0
        if text.size - at >= 8:
            memcpy(&word, text.at + at, 8)
        else:
            memcpy(&word, text.at + at, text.size - at)
        found = (found ^ word) * <uint64_t>0x9E3779B97F4A7C15
        found ^= found >> 32
        at += 8
    return <uint32_t>found


cdef object text_of(Text key):
    """Return the text of a key; None if it is not UTF-8, or if this frame has had it before."""
    global _texts, _text_bytes
    cdef uint32_t hashed = hash_of(key), place = hashed & (SLOTS - 1)
    cdef Py_ssize_t size = 0
    cdef const char *known
    cdef Slot *slot
    while True:
        slot = &_slots[place]
        if slot.text == NULL:
            break
        if slot.hash == hashed:
            known = PyUnicode_AsUTF8AndSize(<object>slot.text, &size)
            if equals(key, known, size):
                if slot.frame == _frame:
                    return None
                slot.frame = _frame
                return <object>slot.text
        place = (place + 1) & (SLOTS - 1)
    try:
        text = PyUnicode_DecodeUTF8(<const char *>key.at, key.size, NULL)
    except UnicodeDecodeError:
        return None
    Py_INCREF(text)
    slot.text = <PyObject *>text
    slot.hash = hashed
    slot.frame = _frame
    _texts += 1
    _text_bytes += key.size
    return text


# --- Frames -----------------------------------------------------------------------------------------------------

cdef void *first_of(object array) except NULL:
    """Return where the values of an array lie; they stay there while it lives."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_WRITABLE)
    PyBuffer_Release(&view)
    return view.buf


cdef class _Rows:
    """The columns of the updates, and the number of rows filled."""

    cdef list keys
    cdef object floats, integers, flags, carried, book  # arrays, and where their first values lie
    cdef double *_floats
    cdef double *_carried
    cdef double *_book
    cdef int64_t *_integers
    cdef uint8_t *_flags
    cdef Py_ssize_t rows, filled

    def __cinit__(self, Py_ssize_t rows, int levels):
        self.rows, self.filled, self.keys = rows, 0, []
        self.floats = np.empty((5, rows))
        self.integers = np.empty((7, rows), np.int64)
        self.flags = np.empty((3, rows), np.bool_)
        self.carried = np.empty((rows, CARRIED))
        self.book = np.empty((rows, 4 * levels))
        self._book = <double *>first_of(self.book)
        self._floats, self._integers = <double *>first_of(self.floats), <int64_t *>first_of(self.integers)
        self._flags, self._carried = <uint8_t *>first_of(self.flags), <double *>first_of(self.carried)

    cdef void add(self, Update *update) noexcept:
        cdef Py_ssize_t rows = self.rows
        cdef double *carried = update.carried
        cdef double *floats = self._floats + self.filled
        cdef int64_t *integers = self._integers + self.filled
        cdef uint8_t *flags = self._flags + self.filled
        if update.has_depth:
            carried[BID], carried[BID_QTY] = update.best.bid, <double>update.best.bid_qty
            carried[ASK], carried[ASK_QTY] = update.best.ask, <double>update.best.ask_qty
            if update.member == FULL:  # the other mode does not have the totals of the book
                carried[TBQ], carried[TSQ] = update.tbq, update.tsq
        if update.has_day:
            carried[DAY_OPEN], carried[DAY_HIGH], carried[DAY_LOW] = update.day.open, update.day.high, update.day.low
        memcpy(self._carried + self.filled * CARRIED, carried, CARRIED * sizeof(double))
        floats[0], floats[rows], floats[2 * rows] = update.ltp, update.minute.open, update.minute.high
        floats[3 * rows], floats[4 * rows] = update.minute.low, update.minute.close
        if update.member == FIRST_LEVEL:
            integers[0] = OPTION_GREEKS
        else:
            integers[0] = update.mode if update.member == FULL else 0
        integers[rows], integers[2 * rows], integers[3 * rows] = update.ltt, update.ltq, update.vtt
        integers[4 * rows], integers[5 * rows] = update.day.ts, update.minute.ts
        integers[6 * rows] = update.minute.volume
        flags[0], flags[2 * rows] = update.has_depth, update.has_day
        flags[rows] = carried[VEGA] != 0 or carried[DELTA] != 0  # who has no greeks gets an empty message
        self.filled += 1

    cdef bint read_frame(self, const uint8_t *at, const uint8_t *end, int32_t *kind, int64_t *current_ms):
        """Add the updates of a frame; False: it is unsure, and nothing was added."""
        global _fields, _book
        cdef uint32_t tag = 0
        cdef int place
        cdef Py_ssize_t filled = self.filled
        cdef Update update
        begin_frame()
        _fields = 0
        while at != NULL and at < end:
            at = read_tag(at, end, &tag)
            if at == NULL:
                break
            if tag == (1 << 3):
                at = read_enum(at, end, kind)
            elif tag == (2 << 3 | 2):
                _book = self._book + self.filled * 4 * _levels
                for place in range(4 * _levels):
                    _book[place] = NAN
                at = read_entry(at, end, &update)
                key = text_of(update.key) if at != NULL else None
                if key is None:
                    at = NULL
                else:
                    self.keys.append(key)
                    self.add(&update)
            elif tag == (3 << 3):
                at = read_int(at, end, current_ms)
            else:
                at = skip(at, end, tag)
        if at != NULL and kind[0] != MARKET_INFO and _fields <= FIELDS and FIRST_MS <= current_ms[0] <= LAST_MS:
            return True
        self.filled = filled
        del self.keys[filled:]
        return False


def read(payloads, int levels=0):
    """Read frames into columns, with so many levels of the book; see `Columns`."""
    global _slots, _levels
    cdef Py_ssize_t count = len(payloads), index, rows = 0
    cdef int64_t current_ms
    cdef int32_t kind
    cdef const uint8_t *at
    cdef bytes payload
    if _slots == NULL:
        _slots = <Slot *>PyMem_Calloc(SLOTS, sizeof(Slot))
        if _slots == NULL:
            raise MemoryError
    types, times, ends = np.zeros(count, np.int64), np.zeros(count, np.int64), np.zeros(count + 1, np.int64)
    cdef int64_t *_types = <int64_t *>first_of(types)
    cdef int64_t *_times = <int64_t *>first_of(times)
    cdef int64_t *_ends = <int64_t *>first_of(ends)
    for index in range(count):
        payload = payloads[index]
        at = <const uint8_t *>PyBytes_AS_STRING(payload)
        _ends[index + 1] = count_entries(at, at + PyBytes_GET_SIZE(payload))
        rows += max(_ends[index + 1], 0)
    _levels = levels
    cdef _Rows found = _Rows(rows, levels)
    unsure = []
    for index in range(count):
        payload = payloads[index]
        at = <const uint8_t *>PyBytes_AS_STRING(payload)
        kind, current_ms = 0, 0
        if _ends[index + 1] >= 0 and found.read_frame(at, at + PyBytes_GET_SIZE(payload), &kind, &current_ms):
            _types[index], _times[index] = kind, current_ms
        else:
            unsure.append(index)
        _ends[index + 1] = found.filled
    filled = found.filled
    floats, integers, flags, carried = found.floats, found.integers, found.flags, found.carried
    book = found.book[:filled]
    if filled < rows:
        floats, integers, flags, carried = floats[:, :filled], integers[:, :filled], flags[:, :filled], carried[:filled]
    ltp, open_, high, low, close = floats
    mode, ltt_ms, ltq, vtt, day_start_ms, minute_ms, volume = integers
    has_depth, has_greeks, has_day_candle = flags
    updates = Updates(
        found.keys, mode, ltp, ltt_ms, ltq, vtt, has_depth, has_greeks, has_day_candle, day_start_ms, minute_ms,
        np.arange(filled), carried, book,
    )
    return Columns(types, times, ends, unsure, updates, Candles(open_, high, low, close, volume))

