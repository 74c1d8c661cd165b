"""Which change of `vtt` is a trade, a glitch, a reset or a gap."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from ingest.market.time import DAY_MS
from ingest.model.frames import FrameType, Mode
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from ingest.normalise.normaliser import Normaliser
from ingest.store.copy_format import nullify
from ingest.store.row_buffer import RowBuffer
from tests.unit.decode_oracle import Frame
from tests.unit.normalise.updates import BEGAN, KEY, OPEN_MS, Stream, null, update, volumes
from tests.unit.oracle import frames_of


def test_step_back_of_vtt_is_a_glitch_and_the_reference_stays_the_days_largest() -> None:
    stream = Stream()
    stream(update(vtt=3000))
    assert volumes(stream, 500, 3500, 600, 700, 3600) == [0, 500, 0, 0, 100]
    assert stream.normaliser.counts["backward"] == 3


def test_third_update_in_a_row_below_the_reference_is_a_reset_and_carries_the_volume_since() -> None:
    stream = Stream()
    stream(update(vtt=3000))
    assert volumes(stream, 500, 500, 620, 640, 630) == [0, 0, 120, 20, 0]
    assert stream.normaliser.counts["resets"] == 1


@pytest.mark.parametrize(
    "counts",
    [
        (500, 400, 450, 440, 445),  # falls in between
        (500, 600, 3000, 700, 800),  # back in between
    ],
)
def test_updates_below_the_reference_that_do_not_go_on_are_no_reset(counts: tuple[int, ...]) -> None:
    stream = Stream()
    stream(update(vtt=3000))
    assert volumes(stream, *counts) == [0] * 5


def test_glitch_that_is_repeated_by_its_quotes_is_no_reset() -> None:
    stream = Stream()
    stream(update(vtt=3000))
    assert volumes(stream, *[500] * 6, step_ms=0) == [0] * 6
    assert volumes(stream, 3100, from_s=2) == [100]


def test_reset_is_the_same_at_every_cut_and_over_a_checkpoint() -> None:
    counts = (3000, 3100, 500, 510, 3200, 600, 610, 620, 700, 10, 3300)
    given = [update(vtt=vtt, ltt_ms=OPEN_MS + n * 1000) for n, vtt in enumerate(counts)]
    whole: list[list[float]] = []
    for cut in range(len(given)):
        normaliser, rows = Normaliser(), RowBuffer(len(given))
        normaliser.learn([InstrumentRef(1, KEY)])
        for part in (given[:cut], given[cut:]):
            frames = frames_of([Frame(FrameType.LIVE_FEED, one.ltt_ms + 200, [one], {}) for one in part])
            rows.extend(normaliser.apply(frames, seq=np.arange(len(part)) + 1, received_us=0))
            normaliser = Normaliser.load(normaliser.dump())
        whole.append(nullified(rows)[:, TICK_COLUMN_NAMES.index("volume")].tolist())
    assert all(null(one[0]) and one[1:] == [100, 0, 0, 100, 0, 0, 20, 80, 0, 2600] for one in whole)


def nullified(rows: RowBuffer) -> np.ndarray:
    values = rows.values().copy()
    nullify(values)
    return values


@pytest.mark.parametrize("after_a_break", [False, True])
def test_first_update_without_vtt_is_no_reference(after_a_break: bool) -> None:
    stream = Stream()
    if after_a_break:
        stream(update(vtt=500))
        stream.normaliser.interrupt()
    row = stream(update(ltt_ms=OPEN_MS + 60_000))
    assert (row["traded"], row["volume"]) == (0, 0)
    row = stream(update(vtt=5_000_075, ltt_ms=OPEN_MS + 61_000))
    assert row["traded"] == 0
    assert null(row["volume"])
    assert sum(gap.volume for gap in stream.normaliser.gaps) == 5_000_075
    assert volumes(stream, 5_000_100, from_s=62) == [25]


def test_price_without_a_time_of_trade_does_not_open_the_day() -> None:
    stream = Stream()
    stream(update(ltt_ms=0), OPEN_MS)
    assert null(stream(update(vtt=5_000_075))["volume"])


def test_empty_update_before_a_trade_makes_no_break_of_it() -> None:
    stream = Stream()
    stream(update(vtt=500))
    empty = update(mode=Mode.LTPC, ltp=0.0, ltt_ms=0, ltq=0, depth=None, prev_close=0.0)
    assert stream(empty, OPEN_MS + 59_000) is None
    assert volumes(stream, 600, from_s=90) == [100]
    assert stream.normaliser.gaps == [BEGAN]


@pytest.mark.parametrize("ltp", [0.0, 100.0])
@pytest.mark.parametrize(("night", "volume"), [(0, 100), (DAY_MS, 600)])
def test_trade_after_quotes_that_repeat_the_count_is_no_breaks(ltp: float, night: int, volume: int) -> None:
    stream = Stream()
    stream(update(vtt=500))
    stream.normaliser.interrupt()
    stream(update(ltp=ltp, ltt_ms=0, ltq=0, vtt=500), OPEN_MS + night + 60_000)
    assert stream(update(vtt=600, ltt_ms=OPEN_MS + night + 90_000))["volume"] == volume
    assert stream.normaliser.gaps == [BEGAN]


def test_stale_update_after_a_break_shows_nothing_of_it() -> None:
    stream = Stream()
    stream(update(vtt=500, ltt_ms=OPEN_MS + 5000))
    stream.normaliser.interrupt()
    stream(update(vtt=450, ltt_ms=OPEN_MS + 4000), OPEN_MS + 80_000)
    assert null(volumes(stream, 600, from_s=90)[0])
    assert stream.normaliser.gaps[-1] == (1, OPEN_MS + 5000, OPEN_MS + 90_000, 100, False)


def test_checkpoint_of_a_version_that_knew_no_resets_is_read() -> None:
    stream = Stream()
    stream(update(vtt=500, atp=99.5))
    document = json.loads(stream.normaliser.dump())
    fields = np.dtype([tuple(field) for field in document["reference_fields"]])
    before = [name for name in fields.names if not name.startswith("low")]
    references = np.frombuffer(base64.b64decode(document["references"]), fields)
    packed = np.empty(len(references), np.dtype([(name, fields[name]) for name in before]))
    for name in before:
        packed[name] = references[name]
    document |= {"reference_fields": packed.dtype.descr, "references": base64.b64encode(packed.tobytes()).decode()}
    document["memory"] = {name: document["memory"][name] for name in ("official_ms", "lost_ms")}
    stream.normaliser = Normaliser.load(json.dumps(document).encode())
    row = stream(update(vtt=600, ltt_ms=OPEN_MS + 1000, depth=None))
    assert (row["volume"], row["atp"]) == (100, 99.5)


def test_break_with_volume_in_the_same_minute_belongs_to_that_minute() -> None:
    stream = Stream()
    stream(update(vtt=500))
    stream.normaliser.interrupt()
    row = stream(update(vtt=600, ltt_ms=OPEN_MS + 30_000))
    assert (row["traded"], row["volume"]) == (1, 100)
    assert stream.normaliser.gaps == [BEGAN]


def test_break_with_volume_in_a_later_minute_is_the_gaps_volume() -> None:
    stream = Stream()
    stream(update(vtt=500))
    stream.normaliser.interrupt()
    row = stream(update(vtt=600, ltt_ms=OPEN_MS + 90_000))
    assert row["traded"] == 0
    assert null(row["volume"])
    assert stream.normaliser.gaps == [BEGAN, (1, OPEN_MS, OPEN_MS + 90_000, 100, False)]
    assert stream(update(vtt=605, ltt_ms=OPEN_MS + 91_000))["volume"] == 5
