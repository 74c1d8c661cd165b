"""Which engines a test runs on, where not on both in each run."""

from __future__ import annotations

import pytest

# What such a test looks at does not hang on the engine: the other one has its turn in the long run (`make soak`).
on_one_engine = pytest.mark.parametrize(
    "engine", ["postgres", pytest.param("timescale", marks=pytest.mark.soak)], indirect=True
)
