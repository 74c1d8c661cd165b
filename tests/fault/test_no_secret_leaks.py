"""No value of a secret is printed, logged, answered or stored, by whatever command fails in whatever way.

The secrets have recognisable values; what commands print and what they leave in files is searched for each of them.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from ingest.database.connections import Database
from tests.data import REPOSITORY
from tests.engines import on_one_engine
from tests.fault.harness import (
    QUICK,
    WITHIN_S,
    Command,
    Ingester,
    Market,
    committed,
    records_of,
    rows,
    stream_folder,
    wait_until,
)
from tests.fault.live import running
from tests.processes import run_commands
from tests.simulated import free_port

TOKEN, KEY, SECRET, PASSWORD, CODE = "tok.LEAKED-1", "key-LEAKED-2", "sec-LEAKED-3", "pw$d/LEAKED-4", "once-LEAKED-5"
MARK = "LEAKED"
NOBODY = f"postgresql://me:{quote(PASSWORD, safe='')}@127.0.0.1:9/ticks"
VENDOR = {
    "UPSTOX_ACCESS_TOKEN": TOKEN,
    "UPSTOX_API_KEY": KEY,
    "UPSTOX_API_SECRET": SECRET,
    "UPSTOX_CLIENT_CODE": "id-LEAKED-6",
    "UPSTOX_REDIRECT_URI": "https://x.example/back",
    "UPSTOX_API_URL": "http://127.0.0.1:9",
    "UPSTOX_ASSETS_URL": "http://127.0.0.1:9",
    "TICKLINE_BACKOFF_MAX_S": "0.05",
}


@dataclass
class Case:
    """A command line, settings beside the usual ones, and a settings file."""

    line: str
    env: dict[str, str] = field(default_factory=dict)
    env_file: bytes = b""
    code: int | None = 1


def url(text: str) -> dict[str, str]:
    return {"TICKLINE_DATABASE_URL": text}


COMMANDS = [
    Case(line)
    for line in (
        "db status",
        "db upgrade",
        "db refresh",
        "db retain --dry-run",
        "ticks NSE_EQ|X",
        "bars NSE_EQ|X",
        "export",
        "reconcile --day 2025-12-15",
        "sql select+1",
        "spikes find",
        "verify",
        "quarantine list",
        "quarantine replay",
        "replay .env",
        "universe show",
        "universe plan",
        "universe refresh",
        "backfill --day 2025-12-15",
        "start NSE_EQ|X --for 0.3",
        "status",
        "doctor",
        "login",
    )
]
COMMANDS += [Case(line, code=0) for line in ("config", "config show", "status --watch --for 0.2")]
URLS = [
    f"postgresql://me:{PASSWORD}@127.0.0.1:9/x",
    f"postgresql://me:{PASSWORD}@[::1/x",
    f"postgresql://me:p@{PASSWORD}@127.0.0.1:9/x",
    f"postgresql://me:%zz{PASSWORD}@127.0.0.1:9/x",
    f"postgresql://me:{PASSWORD} x@127.0.0.1:9/x",
    f"postgresql+psycopg://me:{PASSWORD}@127.0.0.1:9/x",
    f"postgresql://127.0.0.1:{PASSWORD}/x",
    f"postgresql://127.0.0.1:9/x?password={quote(PASSWORD)}&sslmode=odd",
    f"postgresql://127.0.0.1:9/x?passwort={quote(PASSWORD)}",
    f"postgres//me:{PASSWORD}@127.0.0.1/x",
    f"mysql://me:{PASSWORD}@127.0.0.1/x",
    f"host=127.0.0.1 port=9 password={PASSWORD}",
    f"host=127.0.0.1 port=9 password='{PASSWORD}",
    f"host=127.0.0.1 port=odd password='{PASSWORD}'",
    f"host=127.0.0.1 port=9 pasword={PASSWORD}",
    f"{PASSWORD}",
]
URL_COMMANDS = [Case("db upgrade", url(text)) for text in URLS]
LINES = f"UPSTOX_ACCESS_TOKEN={TOKEN}\nTICKLINE_DATABASE_URL={NOBODY}\n".encode()
ENV_FILES = [
    Case("universe show", url(NOBODY), text)
    for text in (
        LINES + b"# caf\xe9\n",
        LINES.decode().encode("utf-16-le") + b"\x00",
        b"\xff\xfe" + LINES,
        b"\x00" * 7 + LINES,
        LINES + b"TICKLINE_DATABSE_URL=pw-LEAKED-7\n",
        LINES + b"TICKLINE_SECRET_OF_MINE=pw-LEAKED-7\n",
        LINES + b"TICKLINE_API_PORT=99999999\n",
        f"UPSTOX_ACCESS_TOKEN=two words of {TOKEN}\n".encode(),
        f"UPSTOX_ACCESS_TOKEN=\xe9{TOKEN}\n".encode(),
        f"UPSTOX_ACCESS_TOKEN='{TOKEN}\nTICKLINE_DATABASE_URL={NOBODY}\n".encode(),
        f"UPSTOX_API_URL=http://me:{PASSWORD}@192.0.2.2/\n".encode(),
        f"UPSTOX_API_URL=https://me:{PASSWORD}@[::1/\n".encode(),
        f"TICKLINE_MODE=token={TOKEN}\n{LINES.decode()}".encode(),
        b"x" * 2**21,
    )
]
USERS = {
    "TICKLINE_HANDLERS": "mine:on_tick",
    "mine.py": f"import os\nprint('loading', dict(os.environ))\nraise ValueError('{TOKEN}', os.environ)\n",
}


class Vendor(BaseHTTPRequestHandler):
    """A vendor that knows all secrets and puts them wherever an answer has room; the first folder says where."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        place = self.path.split("/")[1]
        said = f"{TOKEN} {KEY} {SECRET} {CODE} {PASSWORD}"
        uri = f"ws://127.0.0.1:{self.server.server_port}/ws?requestId={CODE}&code={CODE}"  # type: ignore[attr-defined]
        envelope = {"status": "error", "errors": [{"errorCode": said, "message": said}], "data": None}
        answers: dict[str, tuple[str, list[tuple[str, str]], object]] = {
            "error": ("400 Bad", [], envelope),
            "denied": ("401 No", [], envelope),
            "busy": ("403 No", [], envelope),
            "reason": (f"500 {said}", [], said),
            "redirect": ("302 Found", [("Location", f"http://192.0.2.2/?token={TOKEN}&x={PASSWORD}")], said),
            "header": ("200 OK", [(f"X {said}", said)], said),
            "text": ("200 OK", [], said),
            "uri": ("200 OK", [], {"data": {"authorized_redirect_uri": uri, "x": said}}),
            "bad_uri": ("200 OK", [], {"data": {"authorized_redirect_uri": uri + " /" + said}}),
            "encoded": ("200 OK", [("Content-Encoding", "gzip")], said),
            "long": ("200 OK", [("Content-Length", f"9{said}")], said),
            "ws": (f"418 {said}", [("X-Said", said)], said),
        }
        status, headers, content = answers[place]
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "Connection: close"]
        if place != "long":
            lines.append(f"Content-Length: {len(body)}")
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Vendor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


PLACES = ("error", "denied", "busy", "reason", "redirect", "header", "text", "uri", "bad_uri", "encoded", "long")
VENDOR_LINES = ("universe refresh", "start NSE_EQ|X --for 0.3")


def run_all(cases: list[Case], folder: Path, usual: dict[str, str]) -> list[str]:
    """Run commands, each in a home of its own, and return what was found of secrets, and wrong exit codes."""
    asked = []
    for number, case in enumerate(cases):
        cwd = folder / f"case-{number}"
        (cwd / "home").mkdir(parents=True)
        (cwd / ".env").write_bytes(case.env_file)
        (cwd / "mine.py").write_text(USERS["mine.py"])
        (folder / "stdin").write_text(f"https://x.example/back?code={CODE}&state=odd\n")
        base = {} if case.env_file else usual
        env = {"PATH": os.environ["PATH"], "TICKLINE_HOME": str(cwd / "home"), "HOME": str(cwd)}
        env |= QUICK | base | case.env | {"PYTHONPATH": str(REPOSITORY)}
        argv = [part.replace("+", " ") for part in case.line.split(" ")]
        arguments = ["--debug", *argv]
        asked.append(
            {"arguments": arguments, "environment": env, "cwd": cwd, "stdin": folder / "stdin", "out": cwd / "out"}
        )
    found = []
    for number, (case, code) in enumerate(zip(cases, run_commands(asked), strict=True)):
        place = f"{case.line} {case.env} {case.env_file[:200]!r}"
        out = folder / f"case-{number}" / "out"
        if case.code is not None and code != case.code:
            found.append(f"{place}: exit code {code}\n{out.read_text()[-1500:]}")
        found += [f"{place}: {line}" for line in leaks(folder / f"case-{number}")]
    return found


def leaks(folder: Path) -> list[str]:
    """Return where a secret stands in the files of a folder, but for where it belongs."""
    found = []
    for path in sorted(folder.rglob("*")):
        # Python compiles the user's own module with the secret that stands in it.
        if path.is_file() and path.name not in {".env", "mine.py", "api-token"} and path.suffix != ".pyc":
            text = path.read_bytes().decode("utf-8", "replace")
            lines = (line for line in text.splitlines() if f"client_id={KEY}&" not in line)  # the login's address
            found += [f"{path.name}: {line[:400]}" for line in lines if MARK in line]
    return found


def test_no_command_prints_a_secret_when_the_database_is_away_or_settings_are_wrong(tmp_path: Path) -> None:
    found = run_all([*COMMANDS, *URL_COMMANDS, *ENV_FILES], tmp_path, VENDOR | url(NOBODY))
    assert not found, "\n".join(found)


@on_one_engine
def test_no_command_prints_a_secret_whatever_the_vendor_answers(
    database: Database, tmp_path: Path, vendor: str
) -> None:
    there = url(f"{database.url}{'&' if '?' in database.url else '?'}password={quote(PASSWORD)}")
    cases = [
        Case(line, {"UPSTOX_API_URL": f"{vendor}/{place}", "UPSTOX_ASSETS_URL": f"{vendor}/{place}"}, code=None)
        for place in PLACES
        for line in VENDOR_LINES
    ]
    cases += [Case("doctor", {"UPSTOX_API_URL": f"{vendor}/{place}"}, code=None) for place in ("denied", "text")]
    cases.append(Case("start NSE_EQ|X --for 0.3", {"TICKLINE_HANDLERS": "mine:on_tick"}))
    cases += [Case("sql nonsense"), Case("db status", code=0), Case("start", {"TICKLINE_API_PORT": "1"})]
    found = run_all(cases, tmp_path, VENDOR | there)
    assert not found, "\n".join(found)


@on_one_engine
def test_reason_of_a_close_that_repeats_the_token_is_stored_without_it(database: Database, home: Path) -> None:
    async def run() -> None:
        async with running(database, home) as run:
            await run.live()
            for client in list(run.simulator._clients):
                await client.response.close(code=1008, message=f"Bearer {run.simulator.token} ended".encode())
            await run.live(connections=2)
            error = run.ingestion.streams[0].feed.error
            assert "1008 Bearer ***" in error.text and run.simulator.token not in error.text

    asyncio.run(run())
    records = [record.payload for _, record in records_of(stream_folder(home))]
    assert any(b"1008" in payload for payload in records)
    assert not any(b"simulated-token" in payload for payload in records)


RAISING = """
import logging, os, threading, warnings
async def on_tick(tick):
    print("printed", dict(os.environ))
    warnings.warn(f"warned {os.environ['UPSTOX_ACCESS_TOKEN']} {tick.seq}")
    logging.getLogger("mine").error("logged %s", os.environ["TICKLINE_DATABASE_URL"])
    raise ValueError(os.environ["UPSTOX_API_SECRET"], dict(os.environ))
"""


@on_one_engine
def test_running_ingester_tells_no_secret(database: Database, home: Path) -> None:
    """By its output, its answers, its files or its tables, though a user's handler throws all of them about."""
    port, answers = free_port(), []
    (home / "mine.py").write_text(RAISING)
    url = f"{database.url}{'&' if '?' in database.url else '?'}password={quote(PASSWORD)}"

    def asks(path: str, method: str = "GET", body: object = None, **headers: str) -> None:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:
                answers.append(f"{answer.headers} {answer.read().decode()}")
        except urllib.error.HTTPError as exc:
            answers.append(f"{exc.headers} {exc.read().decode()}")

    with Market(home, "--generate", "--instruments", "10", "--rate", "100", "--token", TOKEN) as market:
        given = VENDOR | market.settings | {"TICKLINE_HANDLERS": "mine:on_tick", "TICKLINE_API_PORT": str(port)}
        given |= {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{home}", "TICKLINE_LOG_FORMAT": "json"}
        with Ingester(home, market, url, **given) as ingester:
            wait_until(lambda: committed(database)[1] > 2**14)
            own = (home / "api-token").read_text().strip()
            for path in ("status", "subscriptions", "latest-ticks", "nothing", f"x?token={TOKEN}&code={CODE}"):
                asks(f"/api/v1/websocket/{path}")
            for path in (
                "docs",
                "openapi.json",
                "metrics",
                "health/ready",
                f"api/v1/instruments?name={TOKEN}&key={SECRET}",
            ):
                asks(f"/{path}")
            asks(f"/api/v1/bars?key={TOKEN}&from={SECRET}&interval={SECRET}")
            asks(f"/api/v1/signals?key={TOKEN}&from={TOKEN}")
            asks("/health", Authorization=f"Bearer {own}")
            for body in ({"keys": [TOKEN]}, {"keys": [own]}, {"keys": market.keys, "mode": SECRET}, own):
                asks("/api/v1/websocket/subscribe", "POST", body, Authorization=f"Bearer {own}")
                asks("/api/v1/websocket/subscribe", "POST", body, Authorization=f"Bearer {own}x")
            asked = Command(home, "status", "--format", "json", **(given | {"TICKLINE_HOME": str(home)}))
            assert asked.process.wait(WITHIN_S) == 0
            assert '"ValueError' in asked.text()
            ingester.stop()
        logged = ingester.text()
    for name in ("tickline.log", "errors.log"):
        told = [json.loads(line) for line in (home / "logs" / name).read_text().splitlines()]
        assert any("logged ***" in line["message"] for line in told)
        assert any(line["event"] == "handler failed" and "***" in line["traceback"] for line in told)
    assert "handler failed" in logged and "printed" in logged and len(answers) == 21
    for segment in home.rglob("*.gz"):
        segment.with_suffix(".unpacked").write_bytes(gzip.decompress(segment.read_bytes()))
    tables = rows(database, "select tablename from pg_tables where schemaname = 'tickline'")
    stored = [row for (table,) in tables for row in rows(database, f"select t::text from tickline.{table} t")]
    assert len(stored) > 2
    (home / "tables").write_text("\n".join(map(str, stored)))
    (home / "answers").write_text("\n".join(answers))
    market.log.unlink()  # it is its own token
    assert not leaks(home)
    kept = [path for path in home.rglob("*") if path.is_file() and path.name != "api-token"]
    assert not [path for path in kept if own.encode() in path.read_bytes()]
