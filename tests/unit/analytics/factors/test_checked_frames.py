"""The API as a user meets it: frames of either kind, wrong frames, and what `help` and a type checker see."""

from __future__ import annotations

import pydoc
import subprocess
import sys
from typing import Any

import polars as pl
import pytest

import analytics
from analytics import features, spikes
from analytics.factors import chains
from analytics.factors.factors import STATE
from ingest.errors import ConfigError
from tests.data import REPOSITORY
from tests.unit.analytics.factors.test_chains import TERMS, chain
from tests.unit.analytics.signals.test_spikes import made, planted


def test_spikes_take_a_collected_frame_as_well_as_a_lazy_one() -> None:
    """A frame of many pieces, of which a filter leaves some empty, once made Polars panic."""
    bars = pl.concat([planted(made(400), 300)[first : first + 10] for first in range(0, 400, 10)], rechunk=False)
    lazy, eager = spikes(features(bars)), spikes(features(bars).collect())
    assert lazy.height and lazy.equals(eager)
    pieces = features(bars).collect()
    pieces = pl.concat([pieces[row : row + 1] for row in range(pieces.height)], rechunk=False)
    assert spikes(pieces).equals(lazy)


def test_features_have_no_scratch_columns() -> None:
    names = features(made(100)).collect().columns
    assert not [name for name in names if name.startswith("_")]
    assert set(names) & set(STATE) == {"instrument_key", "volume_mean", "move_count"}
    assert len(names) == len(set(names))


BARS = made(50)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: features(BARS.drop("close")), "frame has no column 'close': give the bars of analytics.bars()"),
        (lambda: features(BARS.drop("close", "high")), "frame has no column 'high', 'close': give the bars"),
        (lambda: features(BARS.lazy().drop("bucket")), "frame has no column 'bucket'"),
        (lambda: features(BARS.with_columns(pl.col("bucket").cast(pl.String))), "'bucket' is String, not a time"),
        (lambda: features(BARS.with_columns(pl.col("low").cast(pl.String))), "'low' is String, not a number"),
        (lambda: features(BARS.with_columns(volume=pl.lit("7"))), "'volume' is String, not a number"),
        (lambda: features(BARS.to_dicts()), "'list' is not a Polars frame: give the bars"),
        (
            lambda: spikes(BARS),
            "frame has no column 'window_bars', .*: give the result of analytics.features\\(\\)",
        ),
        (lambda: spikes(None), "'NoneType' is not a Polars frame: give the result of analytics.features"),
        (lambda: chains.with_spot(chain().drop("bucket"), TERMS), "frame has no column 'bucket'"),
        (lambda: chains.with_spot(chain(), TERMS.drop("underlying_key")), "'underlying_key': give .* instruments"),
        (
            lambda: chains.exposures(chain(), TERMS),
            "frame has no column 'spot': give the result of analytics.factors.chains.with_spot",
        ),
        (lambda: chains.exposures(chain(), TERMS.drop("strike")), "frame has no column 'strike'"),
    ],
)
def test_wrong_frame_says_what_is_missing_and_what_is_expected(call: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        call()
    assert "\n" not in str(error.value)


def test_help_of_the_package_shows_its_functions() -> None:
    text = pydoc.render_doc(analytics, renderer=pydoc.plaintext)
    for name in ("bars", "features", "spikes", "ticks"):
        assert f"    {name}(" in text.partition("FUNCTIONS")[2]
        assert name in dir(analytics)


def test_package_is_light_and_its_parts_need_no_import_of_their_own() -> None:
    code = (
        "import sys, analytics; assert 'polars' not in sys.modules; "
        "assert analytics.chains.exposures and analytics.bars; "
        "from analytics import *; assert chains.with_spot"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=180, cwd=REPOSITORY)
    with pytest.raises(AttributeError, match="no_such"):
        _ = analytics.no_such


@pytest.mark.parametrize("package", ["analytics", "ingest"])
def test_package_says_that_it_is_typed(package: str) -> None:
    assert (REPOSITORY / package / "py.typed").is_file()
