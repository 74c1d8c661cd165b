"""`tickline login` against the simulator's dialog, with a browser's part played by an HTTP client."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from ingest.cli.record.login import _code, _listen, code_of, command, store_token
from ingest.errors import FeedError
from ingest.settings import settings
from ingest.simulator.server.app import Simulator
from ingest.upstox.rest import UpstoxApi
from tests.fault.live import market
from tests.simulated import free_port


def test_store_token_keeps_other_lines_and_is_the_owners_only(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# mine\nUPSTOX_ACCESS_TOKEN=old\nTICKLINE_MODE=full\nexport UPSTOX_ACCESS_TOKEN=older\n")
    path.chmod(0o644)
    store_token(path, "new")
    assert path.read_text() == "# mine\nTICKLINE_MODE=full\nUPSTOX_ACCESS_TOKEN=new\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [child.name for child in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://x/?code=1&state=other", "another dialog"),
        ("http://x/?code=1", "another"),
        ("http://x/?state=s", "no code"),
    ],
)
def test_code_of_an_answer_that_is_not_ours_is_refused(address: str, said: str) -> None:
    with pytest.raises(FeedError, match=said):
        code_of(address, "s")


OF_OTHERS = ("", "?state=<b>&code=1", "?code=1", "?error=denied", "/other?code=1&state=x", "?state=" + "x" * 9000)


async def visit(browser: aiohttp.ClientSession, address: str) -> tuple[int, str]:
    async with browser.get(address) as answer:
        return answer.status, await answer.text()


def test_login_takes_the_answer_of_its_own_dialog_only_and_stores_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UPSTOX_ACCESS_TOKEN", raising=False)
    redirect = f"http://127.0.0.1:{free_port()}/back"
    printed: list[str] = []
    monkeypatch.setattr("click.echo", lambda text="", **_: printed.append(str(text)))

    async def run() -> None:
        async with Simulator(market()) as simulator:
            for name, value in {"API_URL": simulator.url, "API_KEY": "key", "API_SECRET": "hush"}.items():
                monkeypatch.setenv(f"UPSTOX_{name}", value)
            login = asyncio.create_task(
                asyncio.to_thread(CliRunner().invoke, command, ["--redirect-uri", redirect], catch_exceptions=False)
            )
            async with asyncio.timeout(60), aiohttp.ClientSession() as browser:
                while not any("waiting" in text for text in printed):
                    await asyncio.sleep(0.02)
                answers = []
                for address in [redirect + query for query in OF_OTHERS] + [printed[0].splitlines()[-1]]:
                    while True:
                        try:
                            answers.append(await visit(browser, address))
                        except aiohttp.ClientConnectorError:
                            await asyncio.sleep(0.05)  # not listening yet
                        else:
                            break
                assert [status for status, _ in answers] == [400] * 4 + [404, 400, 200]
                assert "another dialog" in answers[0][1] and "<" not in answers[1][1]
                assert (await login).exit_code == 0

    asyncio.run(run())
    assert (tmp_path / ".env").read_text() == "UPSTOX_ACCESS_TOKEN=simulated-token\n"
    assert not any("simulated-token" in text or "hush" in text for text in printed)


def test_login_listens_on_though_others_call_and_say_nothing_or_too_much() -> None:
    async def run() -> str:
        port = free_port()
        listening = asyncio.create_task(_listen(port, "/", "s"))
        for sent in (
            b"",
            b"x" * 100_000,
            b"GET\r\n\r\n",
            b"GET //[ X\r\n\r\n",
            b"GET /?code=7&state=s HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    break
            writer.write(sent)
            if sent.startswith(b"GET"):
                await writer.drain()
        return await asyncio.wait_for(listening, 60)

    assert asyncio.run(run()) == "7"


def test_address_that_is_pasted_wrong_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter(["nothing", "http://x/?code=1&state=other", "http://x/?code=7&state=s"])
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: next(given))
    assert asyncio.run(_code("https://x/", "s")) == "7"


def test_address_is_pasted_where_no_browser_reaches_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container nobody can connect to the port of the redirect URI."""
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda _: "http://127.0.0.1:1/?code=7&state=s")
    assert asyncio.run(_code("http://127.0.0.1:1/", "s", is_pasted=True)) == "7"


def test_login_with_a_code_that_was_used_is_refused_with_the_remedy() -> None:
    async def run() -> None:
        async with Simulator(market()) as simulator:
            config = settings(upstox_api_url=simulator.url, upstox_api_key="key", upstox_api_secret="hush")
            async with UpstoxApi(config) as api:
                await api.login("never-given", "http://x/")

    with pytest.raises(FeedError, match="login refused .401.*check key, secret"):
        asyncio.run(run())
