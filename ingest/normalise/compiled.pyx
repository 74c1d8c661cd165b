# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Turn ordinary updates into rows: the compiled form of what `Normaliser` does by column. Pure.

It takes a read only if all its updates are ordinary: of known instruments that were heard before, with content, and
possible. Anything else in a read, and the columns in numpy take the whole of it; so this knows no finding, and
`tests/unit/normalise/test_oracle.py` holds both forms against one rule book.

The rules of trades are not here: updates of an instrument that are not all of the plainest kind (`all_plain`) are
handed back, and `trade_rules` judges them one by one. Nothing is allocated per update but those.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.dict cimport PyDict_GetItemWithError
from cpython.mem cimport PyMem_Realloc
from cpython.ref cimport PyObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport qsort
from libc.string cimport memcpy

import numpy as np

from ingest.market.time import DAY_MS, IST_OFFSET_MS
from ingest.model.frames import Mode
from ingest.model.ticks import CARRIED_NAMES, PRICE_MAX, QUANTITY_MAX, TICK_COLUMN_NAMES
from ingest.normalise.instrument_states import LAST_TRADE, LISTENING, MEMORY, NEVER_SENT
from ingest.normalise.rejection import CARRIED_MAX, CARRIED_MIN, LTT_AHEAD_MS_MAX

cdef int64_t DAY = DAY_MS, IST_OFFSET = IST_OFFSET_MS, AHEAD = LTT_AHEAD_MS_MAX, HEARD = LISTENING
cdef int64_t QUANTITY = QUANTITY_MAX
cdef int MODE_LTPC = Mode.LTPC
cdef double PRICE = PRICE_MAX

# The columns of a row, and those of `Updates.carried`, which stand in it from OI on.
cdef enum:
    TS, ID, SEQ, TRADED, LTP, LTQ, LTT, VTT, VOLUME, OI, COLUMNS = 28, RECEIVED_AT = 27
    CARRIED = 18

cdef enum:
    C_OI, C_ATP, C_TBQ, C_TSQ, C_BID, C_BID_QTY, C_ASK, C_ASK_QTY, C_IV, C_DELTA, C_GAMMA, C_THETA, C_VEGA, C_RHO
    C_DAY_OPEN, C_DAY_HIGH, C_DAY_LOW, C_PREV_CLOSE

assert TICK_COLUMN_NAMES[:10] == ("ts", "instrument_id", "seq", "traded", "ltp", "ltq", "ltt", "vtt", "volume", "oi")
assert TICK_COLUMN_NAMES[RECEIVED_AT:] == ("received_at",)
assert CARRIED_NAMES == (
    "oi", "atp", "tbq", "tsq", "bid", "bid_qty", "ask", "ask_qty", "iv", "delta", "gamma", "theta", "vega", "rho",
    "day_open", "day_high", "day_low", "prev_close",
)

cdef packed struct LastTrade:  # as LAST_TRADE
    int32_t instrument_id
    uint8_t is_index
    int64_t mode
    int64_t day
    int64_t ltt_ms
    int64_t vtt
    double ltp
    int64_t ltq
    uint8_t connected
    int64_t lows
    int64_t low_from
    int64_t low_vtt
    int64_t low_ltt_ms

cdef struct Memory:  # as MEMORY
    int64_t official_ms
    int64_t filler_ms
    int64_t habit
    int64_t lost_ms
    int64_t day
    int64_t named_day

assert LAST_TRADE.names == (
    "instrument_id", "is_index", "mode", "day", "ltt_ms", "vtt", "ltp", "ltq", "connected",
    "lows", "low_from", "low_vtt", "low_ltt_ms",
) and LAST_TRADE.itemsize == sizeof(LastTrade)
assert MEMORY.names == ("official_ms", "filler_ms", "habit", "lost_ms", "day", "named_day")
assert MEMORY.itemsize == sizeof(Memory)

cdef double[CARRIED] LEAST, MOST, UNSENT
for _column in range(CARRIED):
    LEAST[_column], MOST[_column] = CARRIED_MIN[_column], CARRIED_MAX[_column]
    UNSENT[_column] = NEVER_SENT[_column]

# For each instrument, the first of its updates in the read; -1 between two calls.
cdef int32_t *_first = NULL
cdef Py_ssize_t _instruments = 0


cdef void *values_of(object array, Py_ssize_t size, int flags) except NULL:
    """Return where the values of an array of so many bytes lie; they stay there while it lives."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, flags)
    cdef Py_ssize_t found = view.len
    cdef void *at = view.buf
    PyBuffer_Release(&view)
    if found != size:
        raise ValueError(f"array has {found} bytes instead of {size}")
    return at


cdef const int64_t *integers(object array, Py_ssize_t count) except NULL:
    return <const int64_t *>values_of(array, 8 * count, PyBUF_SIMPLE)


cdef const uint8_t *flags_of(object array, Py_ssize_t count) except NULL:
    return <const uint8_t *>values_of(array, count, PyBUF_SIMPLE)


cdef inline int64_t day_of(int64_t ms) noexcept:
    """Return the number of the Indian day; wraps around as numpy does."""
    return <int64_t>(<uint64_t>ms + <uint64_t>IST_OFFSET) // DAY


cdef int ascending(const void *one, const void *two) noexcept nogil:
    cdef int64_t a = (<const int64_t *>one)[0], b = (<const int64_t *>two)[0]
    return (a > b) - (a < b)


cdef inline void fill(
    double *row, const double *update, const double *above, bint sent, bint forgotten, int first, int last
) noexcept:
    """Fill the columns `first` to `last`, which are sent together."""
    cdef const double *source = above
    if sent:
        source = update
    elif forgotten:
        source = UNSENT
    memcpy(row + first, source + first, (last + 1 - first) * sizeof(double))


cdef void remember(Py_ssize_t instruments) except *:
    """Make `_first` large enough."""
    global _first, _instruments
    if instruments <= _instruments:
        return
    grown = <int32_t *>PyMem_Realloc(_first, 2 * instruments * sizeof(int32_t))
    if grown == NULL:
        raise MemoryError
    _first = grown
    for place in range(_instruments, 2 * instruments):
        _first[place] = -1
    _instruments = 2 * instruments


def judge(updates, ends, current_ms, seq, received_us, states):
    """Judge the updates of frames, and move the states of their instruments.

    Parameters
    ----------
    updates
        The updates, at least one.
    ends, current_ms, seq, received_us
        int64, for each frame as in `Frames` and `Normaliser.apply`; `ends` begins with 0.
    states
        The states of all instruments; `last_trades`, `carried`, `memory` and `heard_us` change.

    Returns
    -------
    tuple or None
        None: not all updates are ordinary, and nothing has changed. Otherwise the rows, shape (updates, 28); for each
        row its update and its frame; for each instrument its place in the states, its first row and its number of
        rows; whether an official bar is new; and the updates that `trade_rules` must judge, whose columns ts to
        volume are not filled: a list of (place, row, mode, new_mode, has_trade, ltp, ltt_ms, ltq, vtt, today).
    """
    cdef Py_ssize_t count = len(updates.keys), frames = len(current_ms), instruments = len(states.keys)
    cdef list keys = updates.keys
    places = states._places
    cdef const int64_t *mode = integers(updates.mode, count)
    cdef const double *ltp = <const double *>integers(updates.ltp, count)
    cdef const int64_t *ltt = integers(updates.ltt_ms, count)
    cdef const int64_t *ltq = integers(updates.ltq, count)
    cdef const int64_t *vtt = integers(updates.vtt, count)
    cdef const uint8_t *has_depth = flags_of(updates.has_depth, count)
    cdef const uint8_t *has_greeks = flags_of(updates.has_greeks, count)
    cdef const uint8_t *has_day = flags_of(updates.has_day_candle, count)
    cdef const int64_t *day_start = integers(updates.day_start_ms, count)
    cdef const int64_t *minute = integers(updates.minute_ms, count)
    cdef const double *carried = <const double *>integers(updates.carried, count * CARRIED)
    cdef const int64_t *_ends = integers(ends, frames + 1)
    cdef const int64_t *_times = integers(current_ms, frames)
    cdef const int64_t *_seq = integers(seq, frames)
    cdef const int64_t *_received = integers(received_us, frames)
    cdef LastTrade *trades = <LastTrade *>values_of(states.last_trades, instruments * sizeof(LastTrade), PyBUF_WRITABLE)
    cdef Memory *memory = <Memory *>values_of(states.memory, instruments * sizeof(Memory), PyBUF_WRITABLE)
    cdef double *known = <double *>values_of(states.carried, instruments * CARRIED * sizeof(double), PyBUF_WRITABLE)
    cdef int64_t *heard = <int64_t *>values_of(states.heard_us, instruments * 2 * sizeof(int64_t), PyBUF_WRITABLE)
    cdef PyObject *found
    cdef Py_ssize_t at, row, frame, column, owner, owners = 0
    cdef int64_t place
    cdef const double *sent

    # Whether all are ordinary, and the place of each.
    placed_, frame_, following_ = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    cdef int64_t *placed = <int64_t *>integers(placed_, count)
    cdef int64_t *frame_of = <int64_t *>integers(frame_, count)
    cdef int64_t *following = <int64_t *>integers(following_, count)
    if _ends[0] != 0 or _ends[frames] != count:
        raise ValueError("updates and frames do not match")
    for frame in range(frames):
        for at in range(_ends[frame], _ends[frame + 1]):
            found = PyDict_GetItemWithError(places, keys[at])
            if found == NULL:
                return None
            place = <object>found
            if not 0 <= place < instruments or memory[place].lost_ms != HEARD:
                return None
            if not (0 <= ltp[at] < PRICE and 0 <= vtt[at] < QUANTITY and 0 <= ltq[at] < QUANTITY):
                return None
            if not 0 <= ltt[at] <= _times[frame] + AHEAD:
                return None
            sent = carried + at * CARRIED
            if not 0 <= sent[C_OI] < QUANTITY:
                return None
            for column in range(CARRIED):
                if sent[column] < LEAST[column] or sent[column] >= MOST[column]:
                    return None
            if not (ltt[at] or ltp[at] != 0 or has_depth[at] or has_greeks[at] or vtt[at]):
                return None
            placed[at], frame_of[at] = place, frame

    # Grouped by instrument, each in order of arrival.
    remember(instruments)
    owners_ = np.empty(count, np.int64)
    cdef int64_t *owner_of = <int64_t *>integers(owners_, count)
    for at in range(count - 1, -1, -1):
        place = placed[at]
        if _first[place] < 0:
            owner_of[owners] = place
            owners += 1
        following[at], _first[place] = _first[place], <int32_t>at
    qsort(owner_of, owners, sizeof(int64_t), ascending)
    rows, order_, frames_ = np.empty((count, COLUMNS)), np.empty(count, np.int64), np.empty(count, np.int64)
    starts_, sizes_ = np.empty(owners, np.int64), np.empty(owners, np.int64)
    cdef double *out = <double *>integers(rows, count * COLUMNS)
    cdef int64_t *order = <int64_t *>integers(order_, count)
    cdef int64_t *frame_at = <int64_t *>integers(frames_, count)
    cdef int64_t *starts = <int64_t *>integers(starts_, owners)
    cdef int64_t *sizes = <int64_t *>integers(sizes_, owners)
    row = 0
    for owner in range(owners):
        place = owner_of[owner]
        starts[owner], at = row, _first[place]
        _first[place] = -1
        while at >= 0:
            order[row], frame_at[row] = at, frame_of[at]
            row += 1
            at = following[at]
        sizes[owner] = row - starts[owner]

    # One instrument after the other.
    cdef LastTrade *trade
    cdef const double *above
    cdef double *made
    cdef int64_t today, before_day, before_mode, before_ltt, before_vtt
    cdef bint plain, new_mode, new_day, has_news = False
    alone = []
    for owner in range(owners):
        place = owner_of[owner]
        trade = trades + place
        plain = trade.connected and not trade.is_index
        above = known + place * CARRIED
        before_mode, before_day, before_ltt, before_vtt = trade.mode, memory[place].day, trade.ltt_ms, trade.vtt
        for row in range(starts[owner], starts[owner] + sizes[owner]):
            at, frame = order[row], frame_at[row]
            today = day_of(_times[frame])
            new_mode, new_day = mode[at] != before_mode, today != before_day
            plain = plain and (
                ltt[at] >= before_ltt and vtt[at] >= before_vtt and vtt[at] > 0 and day_of(ltt[at]) == today
                and trade.day == today and not new_mode and mode[at] != MODE_LTPC
            )
            made, sent = out + row * COLUMNS, carried + at * CARRIED
            made[ID], made[SEQ], made[RECEIVED_AT] = trade.instrument_id, _seq[frame], _received[frame]
            made[LTP], made[LTQ], made[LTT], made[VTT] = ltp[at], ltq[at], ltt[at] * 1000.0, vtt[at]
            made[VOLUME] = vtt[at] - before_vtt
            made[TRADED] = made[VOLUME] > 0
            made[TS] = made[LTT] if made[TRADED] != 0 else _times[frame] * 1000.0
            made += OI
            fill(made, sent, above, sent[C_OI] != 0, new_mode, C_OI, C_OI)
            fill(made, sent, above, sent[C_ATP] != 0, new_mode or new_day, C_ATP, C_ATP)
            fill(made, sent, above, has_depth[at], new_mode, C_TBQ, C_ASK_QTY)
            fill(made, sent, above, sent[C_IV] != 0, new_mode, C_IV, C_IV)
            fill(made, sent, above, has_greeks[at], new_mode, C_DELTA, C_RHO)
            fill(
                made, sent, above, has_day[at] and day_of(day_start[at]) == today, new_mode or new_day,
                C_DAY_OPEN, C_DAY_LOW,
            )
            fill(made, sent, above, sent[C_PREV_CLOSE] != 0, False, C_PREV_CLOSE, C_PREV_CLOSE)
            above = made
            before_mode, before_day, before_ltt, before_vtt = mode[at], today, ltt[at], vtt[at]
            has_news = has_news or minute[at] > memory[place].official_ms
        memcpy(known + place * CARRIED, above, CARRIED * sizeof(double))
        memory[place].day, heard[2 * place] = before_day, _received[frame]
        if plain:
            trade.mode, trade.ltp, trade.ltt_ms, trade.ltq, trade.vtt = mode[at], ltp[at], ltt[at], ltq[at], vtt[at]
            trade.lows = 0
            continue
        before_mode = trade.mode
        for row in range(starts[owner], starts[owner] + sizes[owner]):
            at = order[row]
            out[row * COLUMNS + TS] = _times[frame_at[row]] * 1000.0
            alone.append((
                place, row, mode[at], mode[at] != before_mode, ltt[at] != 0 or ltp[at] != 0, ltp[at], ltt[at], ltq[at],
                vtt[at], day_of(_times[frame_at[row]]),
            ))
            before_mode = mode[at]
    return rows, order_, frames_, owners_[:owners], starts_, sizes_, has_news, alone
