"""Who may ask the HTTP API for what, in which form it refuses, and what no request can do."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from ingest.database.connections import Database
from ingest.errors import ConfigError
from ingest.feed.key_states import KeyState
from ingest.live.access import READER_TOKEN_FILE, TOKEN_FILE, Tokens, made_token, stored_token
from ingest.live.http.guard import BODY_BYTES_MAX
from ingest.redaction import redact
from tests.data import REPOSITORY
from tests.db.test_status import API, asked, bearer, served
from tests.engines import on_one_engine
from tests.fault.harness import WITHIN_S
from tests.fault.live import running, until
from tests.processes import run_command
from tests.simulated import free_port

CHANGES = ("subscribe", "unsubscribe", "change-mode", "retry")


def test_token_is_made_once_for_its_owner_only_and_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    assert stored_token(home) is None
    token = made_token(home)
    assert made_token(home) == stored_token(home) == token
    assert stat.S_IMODE((home / TOKEN_FILE).stat().st_mode) == 0o600
    assert [path.name for path in home.iterdir()] == [TOKEN_FILE]
    assert token not in redact(f"sent {token}") and not caplog.text
    (home / TOKEN_FILE).chmod(0o640)
    made_token(home)
    assert "mode 640" in caplog.text and token not in caplog.text
    (home / TOKEN_FILE).unlink()
    os.mkfifo(home / TOKEN_FILE)
    with pytest.raises(ConfigError, match="holds no token"):
        made_token(home)
    (home / TOKEN_FILE).unlink()
    for wrong in ("", "short", "two words of a token\n", "é" * 20):
        (home / TOKEN_FILE).write_text(wrong)
        with pytest.raises(ConfigError, match="holds no token"):
            made_token(home)


@pytest.mark.parametrize("is_local", [True, False])
def test_token_of_a_reader_reads_everywhere_and_changes_nothing(is_local: bool) -> None:
    tokens = Tokens("opens-everything", "only-reads-here")
    for token, reads, changes in (
        ("opens-everything", None, None),
        ("only-reads-here", None, 403),
        ("another", None if is_local else 401, 401),
    ):
        headers = {"authorization": f"Bearer {token}"}
        for method in ("GET", "HEAD", "OPTIONS"):
            assert (tokens.why_refused(method, headers, is_local=is_local) or (None,))[0] == reads
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            refusal = tokens.why_refused(method, headers, is_local=is_local)
            assert (refusal or (None,))[0] == changes
            assert refusal is None or refusal[1].endswith("what 'api-token' in TICKLINE_HOME holds")


async def sent(port: int, method: str, path: str, data: Any = None, **headers: str) -> tuple[int, Any, str]:
    """Send a body as it is; an asynchronous one goes in chunks."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        async with session.request(method, path, data=data) as answer:
            return answer.status, await answer.json(), answer.headers.get("Connection", "")


async def chunks(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b"x" * 2**16


async def command(arguments: list[str], cwd: Path, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a process while the loop goes on."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | given
    return await asyncio.to_thread(run_command, arguments, cwd=cwd, environment=environment)


@on_one_engine
def test_every_refusal_has_one_form_and_nothing_changes(database: Database, home: Path) -> None:
    port = free_port()

    async def run() -> None:
        async with running(database, home, api_port=port) as run:
            await served(port)
            own, key, path = bearer(home), sorted(run.simulator.source.keys)[0], f"{API}/subscribe"
            refusals = [
                (401, await sent(port, "POST", f"{API}/{change}", json.dumps({"keys": [key]}))) for change in CHANGES
            ]
            for wrong in ("Bearer x", "Bearer é", "Basic " + own["Authorization"][7:], own["Authorization"][7:]):
                refusals.append((401, await sent(port, "POST", path, b"{}", Authorization=wrong)))
            reader = {"Authorization": f"Bearer {stored_token(home, READER_TOKEN_FILE)}"}
            refusals += [
                (403, await sent(port, "POST", f"{API}/{change}", json.dumps({"keys": [key]}), **reader))
                for change in CHANGES
            ]
            refusals += [
                (404, await sent(port, "GET", "/nothing")),
                (404, await sent(port, "GET", "/health/")),
                (405, await sent(port, "GET", path)),
                (405, await sent(port, "PUT", path, b"{}", **own)),
                (413, await sent(port, "POST", path, b"x" * (BODY_BYTES_MAX + 1), **own)),
                (413, await sent(port, "POST", path, chunks(17), **own)),
                (413, await sent(port, "GET", "/health", chunks(17))),
                (403, await sent(port, "GET", "/health", Origin="http://127.0.0.1")),
                (403, await sent(port, "POST", path, b"{}", Origin="null", **own)),
                (403, await sent(port, "GET", "/health", **{"Sec-Fetch-Site": "cross-site"})),
                (400, await sent(port, "GET", "/health", Host="evil.example")),
                (400, await sent(port, "POST", path, b"{}", Host="[::1", **own)),
            ]
            bodies: list[Any] = [{}, [], None, {"keys": []}, {"keys": key}, {"keys": [key, 1]}, {"keys": {key: 1}}]
            bodies += [
                {"keys": [text]} for text in ("INFY" * 20, "NSE_FO|" + "9" * 65, "NSE_FO|1\0", "NSE_FO|\udce9", "é|1")
            ]
            bodies += [{"keys": [key], "mode": mode} for mode in ([], {}, None, "Full", 1, "x" * 1000)]
            texts = [json.dumps(body).encode() for body in bodies] + [b"", b"{", b"\xff", b"[" * 100_000]
            refusals += [(422, await sent(port, "POST", path, text, **own)) for text in texts]
            body = json.dumps({"keys": [key, "NO SUCH NAME"]})
            refusals += [(404, await sent(port, "POST", f"{API}/{change}", body, **own)) for change in CHANGES[:3]]
            for status, (got, answer, _) in refusals:
                assert (got, set(answer)) == (status, {"error"}), answer
                assert 0 < len(answer["error"]) < 400
            assert run.ingestion.keys == dict.fromkeys(run.simulator.source.keys, "full")
            run.ingestion.retry = lambda only: 1 / 0  # type: ignore[method-assign, assignment, return-value]
            assert await asked(port, f"{API}/retry", {}, **own) == (
                500,
                {"error": "internal error: ZeroDivisionError: see the log"},
            )
            await run.live()

    asyncio.run(run())


@on_one_engine
def test_key_that_is_not_listed_is_taken_with_a_warning_and_asked_again_on_demand(
    database: Database, home: Path, tmp_path: Path
) -> None:
    port = free_port()
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "insert into instruments (instrument_key, segment, trading_symbol, instrument_type, expiry) values"
            " ('NSE_EQ|LISTED', 'NSE_EQ', 'LISTED', 'EQ', null), ('NSE_FO|1', 'NSE_FO', 'OLD', 'FUT', '2020-01-30')"
        )

    async def run() -> None:
        async with running(database, home, api_port=port, confirm_s=0.5) as run:
            await run.live()
            await served(port)
            own, keys = bearer(home), ["NSE_EQ|LISTED", "NSE_FO|1", "NSE_FO|Not listed"]
            code, answer = await asked(port, f"{API}/subscribe", {"keys": keys}, **own)
            assert (code, answer["total_symbols"]) == (200, 63)
            (warning,) = answer["warnings"]
            assert "2 keys" in warning and "NSE_FO|1, NSE_FO|Not listed" in warning
            assert await asked(port, f"{API}/subscribe", {"keys": keys}, **own) == (200, {"total_symbols": 63})
            feed = run.ingestion.streams[0].feed
            # Names mean what they mean everywhere; one that nothing has is answered with what is near.
            assert await asked(port, f"{API}/subscribe", {"keys": ["listed"]}, **own) == (200, {"total_symbols": 63})
            code, answer = await asked(port, f"{API}/unsubscribe", {"keys": [keys[1], "LISTD"]}, **own)
            assert code == 404 and "near matches are 'LISTED'" in answer["error"]
            assert len(run.ingestion.keys) == 63 and run.ingestion.key_of("Listed") == keys[0]
            await until(lambda: run.confirmed == 60 and sorted(feed.states.in_state(KeyState.FAILED)) == keys)
            given = {"TICKLINE_API_PORT": str(port), "TICKLINE_HOME": str(home)}
            ran = await command(["status", "health", "--retry"], tmp_path, given)
            assert "3 keys requested again" in ran.stderr and ran.returncode == 0

    asyncio.run(run())


@on_one_engine
def test_elsewhere_everything_needs_the_token(database: Database, home: Path, tmp_path: Path) -> None:
    port = free_port()

    async def run() -> None:
        async with running(database, home, api_port=port, api_host="0.0.0.0") as run:
            await run.live()

            async def refuses() -> bool:
                try:
                    return (await asked(port, "/health"))[0] == 401
                except OSError:
                    return False

            async with asyncio.timeout(WITHIN_S):
                while not await refuses():
                    await asyncio.sleep(0.05)
            own = bearer(home)
            for path in ("/health", f"{API}/status", f"{API}/subscriptions", f"{API}/latest-ticks"):
                assert (await asked(port, path))[0] == 401
                assert (await asked(port, path, Host="recorder.example", **own))[0] == 200
            for folder, code in ((home, 0), (tmp_path, 1)):
                given = {"TICKLINE_API_PORT": str(port), "TICKLINE_API_HOST": "0.0.0.0", "TICKLINE_HOME": str(folder)}
                ran = await command(["status"], tmp_path, given)
                assert ran.returncode == code and ("answers 401: a token is needed" in ran.stderr) == bool(code)

    asyncio.run(run())
