"""`tickline login`: the vendor's OAuth dialog, and the token into `.env`.

Owns the dialog and the file. The token is printed nowhere, and no page but the dialog's own can end the wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import click

from ingest.env_file import ENV_FILE, read_text, with_setting
from ingest.errors import ConfigError, FeedError
from ingest.files import PRIVATE, replace_file
from ingest.redaction import unfenced_stdout

NAME = "UPSTOX_ACCESS_TOKEN"
HEAD_BYTES_MAX = 2**16  # of a browser's request; its cookies for this machine are a few KB
PAGE_S = 1.0  # for the last page to reach the browser; whoever does not read is not waited for
PAGE_HEADERS = {"Cache-Control": "no-store", "Connection": "close"}
UNSAID = logging.Logger(
    __name__, logging.CRITICAL + 1
)  # who sends nonsense here is no concern of the log, nor is a code
REMEDY = "it is the app's in the vendor's developer console"


def _parse_uri(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return an address that a browser can be sent to."""
    if value is not None and not (urlsplit(value).scheme and urlsplit(value).netloc):
        raise click.BadParameter(f"{value!r} is no address: write it as http://127.0.0.1:8789/", ctx, param)
    return value


@click.command("login")
@click.option(
    "--redirect-uri",
    callback=_parse_uri,
    help="The redirect URI of your app, exactly as registered.  [default: UPSTOX_REDIRECT_URI]",
)
def command(redirect_uri: str | None) -> None:
    """Get an access token from the vendor and store it in .env, readable by you only.

    Opens nothing by itself: it prints the address of the vendor's dialog. Log in there with a
    browser; it then goes to your app's redirect URI, whose address holds a code. Paste that address
    here, or, where the URI is http://127.0.0.1:PORT or http://localhost:PORT, it is taken by itself. A running
    ingester that waits for a token takes the new one within seconds.
    """
    from ingest.settings import settings

    config = settings()
    redirect_uri = redirect_uri or config.upstox_redirect_uri
    for name, value in (
        ("UPSTOX_API_KEY", config.upstox_api_key),
        ("UPSTOX_API_SECRET", config.upstox_api_secret),
        ("UPSTOX_REDIRECT_URI", redirect_uri),
    ):
        if not value:
            raise ConfigError(f"no {name}: set it in the environment or in .env; {REMEDY}")
    assert config.upstox_api_key and config.upstox_api_secret and redirect_uri
    state = secrets.token_urlsafe(16)
    query = {
        "response_type": "code",
        "client_id": config.upstox_api_key.get_secret_value(),
        "redirect_uri": redirect_uri,
        "state": state,
    }
    dialog = f"{config.api_url}/v2/login/authorization/dialog?{urlencode(query)}"
    click.echo(f"open this address in a browser and log in:\n{dialog}", file=unfenced_stdout())  # it has the app's key
    code = asyncio.run(_code(redirect_uri, state))

    async def fetch() -> str:
        from ingest.upstox.rest import UpstoxApi

        async with UpstoxApi(config) as api:
            return await api.login(code, redirect_uri)

    store_token(ENV_FILE, asyncio.run(fetch()))
    click.echo(f"token stored in {ENV_FILE.resolve()}; it ends at 03:30 IST")
    if os.environ.get(NAME):
        click.echo(
            f"note: {NAME} is set in the environment, which wins over .env at the next start: unset it", err=True
        )


async def _code(redirect_uri: str, state: str) -> str:
    """Return the code of the dialog's answer: from a listener on this machine, or as the user pastes it."""
    parts = urlsplit(redirect_uri)
    if parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"} and parts.port:
        click.echo(f"waiting for the browser on port {parts.port}; Ctrl-C stops")
        return await _listen(parts.port, parts.path or "/", state)
    return str(click.prompt("paste the address that the browser went to", hide_input=True, value_proc=_pasted(state)))


def _pasted(state: str) -> Callable[[str], str]:
    """Return what takes the code out of a pasted address; click says why it does not, and asks again."""

    def code(address: str) -> str:
        try:
            return code_of(address, state)
        except FeedError as exc:
            raise click.UsageError(str(exc)) from None

    return code


async def _listen(port: int, path: str, state: str) -> str:
    """Serve the redirect URI until the browser comes with the answer of our dialog; return its code.

    Any page can send a browser here. What does not belong to our dialog is answered with an error page, and the
    wait goes on.
    """
    from aiohttp import web

    came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(request: web.BaseRequest) -> web.Response:
        status, text = _answer(request.raw_path, path, state, came)
        return web.Response(status=status, text=f"{text}\n", headers=PAGE_HEADERS)

    server = web.Server(
        serve, access_log=None, logger=UNSAID, max_line_size=HEAD_BYTES_MAX, max_field_size=HEAD_BYTES_MAX
    )
    runner = web.ServerRunner(server, shutdown_timeout=PAGE_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        return await came
    except OSError as exc:
        raise ConfigError(f"cannot listen on port {port!r} of the redirect URI: {exc.strerror}") from exc
    finally:
        await runner.cleanup()


def _answer(target: str, path: str, state: str, came: asyncio.Future[str]) -> tuple[int, str]:
    """Return status and text of the page for a request; pass its code on if it is ours."""
    try:
        if urlsplit(target).path != path:
            return 404, "Tickline: this is not the address of the login."
        code = code_of(target, state)
    except (FeedError, ValueError) as exc:
        return 400, f"Tickline: {exc if isinstance(exc, FeedError) else 'this is no address'}."
    if not came.done():
        came.set_result(code)
    return 200, "Tickline has the code; close this page."


def code_of(address: str, state: str) -> str:
    """Return the code in the address that the dialog led to.

    Raises
    ------
    FeedError
        If it has none, or answers another dialog than ours.
    """
    answer = parse_qs(urlsplit(address.strip()).query)
    if answer.get("state", [""]) != [state]:
        raise FeedError("the answer belongs to another dialog (its state differs): use the address printed last")
    if "code" not in answer:
        raise FeedError("the address has no code: log in again, and give the whole address")
    return answer["code"][0]


def store_token(path: Path, token: str) -> None:
    """Put the token into a settings file, all else kept, readable by its owner only; at once or not at all.

    Raises
    ------
    ConfigError
        If the file cannot be read or written.
    """
    text, encoding = read_text(path)
    try:
        replace_file(path.resolve(), with_setting(text, NAME, token).encode(encoding), mode=PRIVATE)
    except OSError as exc:
        raise ConfigError(
            f"file {str(path)!r} cannot be written: {exc.strerror}: make it writable and log in again"
        ) from exc
