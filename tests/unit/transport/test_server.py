"""What a collector serves: synced bytes of its own segments to those with the token, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPMessage
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import pytest

from ingest.errors import JournalError
from ingest.journal.folder import segment_name, segments_of
from ingest.journal.housekeeping import tidy
from ingest.journal.writer import JournalWriter
from ingest.live.access import JOURNAL_TOKEN_FILE, Tokens, why_refused
from ingest.model.records import Position, RecordKind
from ingest.transport.cursor import Cursor
from ingest.transport.http_collector import HttpCollector
from ingest.transport.segments import PIECE_BYTES_MAX, Listing
from ingest.transport.served_journal import ServedJournal
from ingest.transport.server import CLOSED, CRC, END, JournalServer
from tests.unit.journal.journals import NOW, T0_US, fill, writer

TOKEN, READER = "a-token-of-the-journal", "a-token-that-only-reads"
TOKENS = Tokens(TOKEN, READER, JOURNAL_TOKEN_FILE)
DATABASE = "7412/ticks"


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: HTTPMessage

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


class Served:
    """A server of one stream, whose journal is `journal`."""

    def __init__(self, folder: Path, *, is_local: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.folder = folder / "1"
        self.journal: JournalWriter = writer(self.folder, next_seq=1_000)
        self.cursor = Cursor(folder)
        self.server = JournalServer(
            ServedJournal("default", {"1": self.journal}),
            self.cursor,
            host="127.0.0.1",
            port=0,
            guard=lambda method, headers: why_refused(
                method, {name.lower(): value for name, value in headers.items()}, TOKENS, is_local=is_local
            ),
            tls=tls,
        )
        self.journal.when_synced = self.server.moved
        self.server.start()
        while self.server.error:
            time.sleep(0.002)

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Answer:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        data = None if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, sent, method=method), timeout=60) as answer:
                return Answer(answer.status, answer.read(), answer.headers)
        except urllib.error.HTTPError as exc:
            with exc:
                return Answer(exc.code, exc.read(), exc.headers)

    def piece(self, segment: str, first: int, last: int | str = "", *, wait_s: float = 0) -> Answer:
        return self.ask(f"/journal/1/{segment}?wait_s={wait_s}", Range=f"bytes={first}-{last}")

    def tell(self, segment: str, offset: int, database: str = DATABASE) -> Answer:
        body = {"segment": segment, "offset": offset, "database": database}
        return self.ask("/journal/1/committed", "PUT", body, Authorization=f"Bearer {TOKEN}")

    def close(self) -> None:
        self.journal.close()
        self.server.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    fill(tmp_path / "1", 180)  # of an earlier run, three segments
    found = Served(tmp_path)
    yield found
    found.close()


def test_segments_of_earlier_runs_are_served_as_they_are_compressed_or_not(served: Served) -> None:
    whole = {segment_name(path): path.read_bytes() for path in segments_of(served.folder)}
    assert len(whole) == 3
    listing = Listing.from_json(json.loads(served.ask("/journal").body))
    assert listing.collector == "default"
    assert [tuple(one) for one in listing.streams["1"]] == [(name, len(data), True, 2) for name, data in whole.items()]
    tidy(served.folder, None, keep_days=1, quota_bytes=0, now=NOW)
    assert [path.suffix for path in segments_of(served.folder)] == [".zst", ".zst", ".journal"]
    for name, data in whole.items():
        answer = served.piece(name, 100, 999)
        assert (answer.status, answer.body) == (206, data[100:1_000])
        assert answer.headers["Content-Range"] == f"bytes 100-999/{len(data)}"
        assert (answer.headers[CLOSED], answer.headers[END]) == ("1", str(len(data)))
        assert answer.headers[CRC] == f"{google_crc32c.value(answer.body):08x}"
        at_end = served.piece(name, len(data), wait_s=9)  # nothing will come: it is not waited for
        assert (at_end.status, at_end.headers[CLOSED], at_end.headers[END]) == (416, "1", str(len(data)))


def test_open_segment_is_served_as_far_as_an_fsync_has_covered_it(served: Served) -> None:
    served.journal.append(RecordKind.FRAME, b"first", T0_US)
    name = served.journal.segment
    path = served.folder / f"{name}.journal"
    first = served.piece(name, 0, wait_s=9)  # waits for the first fsync
    assert (first.status, first.body, first.headers[CLOSED]) == (206, path.read_bytes(), "0")
    with served.journal._lock:  # fsync waits
        served.journal.append(RecordKind.FRAME, b"second", T0_US)
        assert path.stat().st_size > len(first.body)
        again = served.piece(name, 0)
        assert (again.body, again.headers["Content-Range"][-2:]) == (first.body, "/*")
        assert served.piece(name, len(first.body)).status == 416
        (listed,) = [one for one in json.loads(served.ask("/journal").body)["streams"]["1"] if not one["is_closed"]]
        assert (listed["name"], listed["size"]) == (name, len(first.body))
    after = served.piece(name, len(first.body), wait_s=9)
    assert first.body + after.body == path.read_bytes()


def test_segment_whose_last_fsync_failed_is_synced_before_it_is_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.journal.append(RecordKind.FRAME, b"first", T0_US)
    name = served.journal.segment
    served.journal._close_segment(sync=False)  # as after an fsync that failed
    served.journal.append(RecordKind.FRAME, b"second", T0_US)
    assert served.journal.segment != name
    done: list[int] = []
    fsync = os.fsync

    def failing(fd: int) -> None:
        if not done:
            done.append(fd)
            raise OSError(5, "Input/output error")
        fsync(fd)

    monkeypatch.setattr("ingest.transport.served_journal.os.fsync", failing)
    answer = served.piece(name, 0)
    assert (answer.status, answer.error) == (503, "journal cannot be read: Input/output error: ask again")
    assert served.piece(name, 0).body == (served.folder / f"{name}.journal").read_bytes()


def test_answer_is_bounded(served: Served) -> None:
    served.journal.append(RecordKind.FRAME, bytes(2 * PIECE_BYTES_MAX), T0_US)
    assert len(served.piece(served.journal.segment, 0, wait_s=9).body) == PIECE_BYTES_MAX


@pytest.mark.parametrize(
    "path",
    [
        "/journal/1/..%2f..%2fapi-token",
        "/journal/1/%2e%2e/committed.json",
        "/journal/..%2f1/20251215-000000000000001",
        "/journal/2/20251215-000000000000001",
        "/journal/1/20251215-000000000099999",
        "/journal/1/20251215-000000000000001.journal",
        "/journal/1",
        "/",
    ],
)
def test_what_is_no_segment_of_the_journal_is_not_served(served: Served, path: str) -> None:
    (served.folder.parent / "api-token").write_text("secret")
    answer = served.ask(path, Range="bytes=0-")
    assert answer.status == 404
    assert "secret" not in answer.body.decode()


@pytest.mark.parametrize("given", ["", "bytes=-5", "bytes=a-b", "items=0-1", "bytes=0-1,3-4", "bytes=9" * 99])
def test_other_range_than_one_with_a_first_byte_is_refused(served: Served, given: str) -> None:
    answer = served.ask("/journal/1/20251215-000000000000001", Range=given)
    assert answer.status == 416
    assert "bytes=FIRST-" in answer.error


def test_off_loopback_every_request_needs_the_token_and_a_page_is_never_answered(tmp_path: Path) -> None:
    fill(tmp_path / "1", 10)
    served = Served(tmp_path, is_local=False)
    try:
        name = segment_name(segments_of(served.folder)[0])
        for path in ("/journal", f"/journal/1/{name}"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
                refused = served.ask(path, Range="bytes=0-", **headers)
                assert refused.status == 401
                assert refused.headers["WWW-Authenticate"] == "Bearer"
            for token in (TOKEN, READER):
                assert served.ask(path, Range="bytes=0-", Authorization=f"Bearer {token}").status in {200, 206}
            assert served.ask(path, Authorization=f"Bearer {TOKEN}", Origin="http://a.example").status == 403
        assert served.server.account()["refused"] == 8
    finally:
        served.close()


def test_on_loopback_reading_needs_no_token_but_the_committed_end_does(served: Served) -> None:
    assert served.ask("/journal").status == 200
    assert served.ask("/journal", Host="journal.example").status == 400
    assert served.ask("/journal/1/committed", "PUT", {"segment": "x"}).status == 401
    assert served.cursor.committed("1") is None


@pytest.mark.parametrize("is_local", [True, False])
def test_token_that_only_reads_says_nothing_is_committed(tmp_path: Path, is_local: bool) -> None:
    fill(tmp_path / "1", 10)
    served = Served(tmp_path, is_local=is_local)
    url = f"http://127.0.0.1:{served.server.port}"

    async def tell() -> None:
        async with HttpCollector(url, READER) as collector:
            (one,) = (await collector.streams()).streams["1"]
            assert (await collector.piece("1", one.name, 0, bytes_max=10, wait_s=0)).data
            assert not await collector.takes_token()
            with pytest.raises(JournalError, match="refuses: the token only reads: set TICKLINE_COLLECTOR_TOKEN"):
                await collector.committed("1", Position(one.name, 5), DATABASE)

    try:
        asyncio.run(tell())
        assert served.cursor.committed("1") is None
    finally:
        served.close()


def test_committed_end_only_moves_on_and_stays_within_the_journal(served: Served) -> None:
    first, second, third = (segment_name(path) for path in segments_of(served.folder))
    assert json.loads(served.tell(second, 500).body) == {"segment": second, "offset": 500}
    for segment, offset in ((first, 9_000), (second, 499), (second, 500)):
        assert json.loads(served.tell(segment, offset).body) == {"segment": second, "offset": 500}
    beyond = served.tell(third, 10**6)
    assert (beyond.status, "another journal" in beyond.error) == (409, True)
    assert served.tell("20251215-000000000099999", 1).status == 404
    other = served.tell(third, 300, "1/trial")
    assert (other.status, DATABASE in other.error and "remove" in other.error) == (409, True)
    assert Cursor(served.folder.parent).committed("1") == Position(second, 500)  # on disk, for the next run
    served.tell(third, 300)
    assert served.cursor.committed("1") == Position(third, 300)


@pytest.mark.parametrize(
    "change",
    [{"segment": "a/b"}, {"segment": None}, {"offset": -1}, {"offset": "x"}, {"database": ""}, {"database": "d" * 201}],
)
def test_committed_end_that_is_none_is_refused(served: Served, change: dict[str, Any]) -> None:
    body = {"segment": segment_name(segments_of(served.folder)[0]), "offset": 1, "database": DATABASE} | change
    answer = served.ask("/journal/1/committed", "PUT", body, Authorization=f"Bearer {TOKEN}")
    assert answer.status == 422
    assert served.cursor.committed("1") is None


def test_cursor_that_is_damaged_lets_nothing_be_deleted_until_it_is_told_again(tmp_path: Path) -> None:
    cursor = Cursor(tmp_path)
    cursor.move("1", Position("20251215-000000000000001", 7), DATABASE)
    (tmp_path / "committed.json").write_text('{"database"')
    assert cursor.committed("1") is None
    cursor.move("1", Position("20251215-000000000000001", 9), DATABASE)
    assert Cursor(tmp_path).committed("1") == Position("20251215-000000000000001", 9)


def test_port_that_is_taken_is_said_and_tried_again(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.transport.server.PORT_RETRY_S", 0.02)
    allowed: Callable[..., None] = lambda *_: None  # noqa: E731
    second = JournalServer(served.server.journal, None, host="127.0.0.1", port=served.server.port, guard=allowed)
    second.start()
    while "is in use: set TICKLINE_JOURNAL_PORT" not in second.error:
        time.sleep(0.002)
    served.server.close()
    while second.error:
        time.sleep(0.002)
    assert served.ask("/journal").status == 200
    assert (
        served.tell("20251215-000000000000001", 1).error
        == "this process commits its journal itself: read another collector"
    )
    second.close()
