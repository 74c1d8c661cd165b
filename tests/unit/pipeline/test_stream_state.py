"""The state of a stream in a checkpoint: its form does not change, and a state loads as it was."""

from __future__ import annotations

import json

from ingest.model.records import Record, RecordKind
from ingest.pipeline.stream_state import StreamState
from ingest.store.batch import Resume


def loaded(state: bytes, digest: str = "") -> StreamState:
    return StreamState.load(
        Resume(None, digest, 0, None, state),
        None,  # type: ignore[arg-type]  nobody is asked
        unknown_keys_max=5,
        on_status=lambda status, at_ms: None,
    )


def test_checkpoint_has_the_keys_that_earlier_versions_wrote_and_loads_as_it_was() -> None:
    state = loaded(b"")
    state.break_detector.take(Record(RecordKind.FRAME, 7, 1_765_770_000_000_000, b"", 0), 1_765_770_000_000)
    document = json.loads(state.dump())
    assert list(document) == ["seq", "listening", "opens", "day", "normaliser"]
    assert json.loads(loaded(state.dump()).dump()) == document


def test_checkpoint_of_a_version_that_did_not_remember_day_and_opens_loads() -> None:
    document = json.loads(loaded(b"").dump()) | {"seq": 41}
    del document["day"], document["opens"]
    state = loaded(json.dumps(document).encode(), digest="0000002a")
    assert (state.read_seq, state.naming.day) == (41, -1)
