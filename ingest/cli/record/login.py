"""`tickline login`: run the vendor's OAuth dialog and store the token in `.env`.

Owns the dialog and the file. Never prints the token; only the dialog's own redirect ends the wait for it.
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
PAGE_S = 1.0  # longest wait for the browser to read the last page
PAGE_HEADERS = {"Cache-Control": "no-store", "Connection": "close"}
# Logs nothing: a line could contain a login code, and any local program can send nonsense.
UNSAID = logging.Logger(__name__, logging.CRITICAL + 1)
REMEDY = "the vendor's developer console shows it with your app"


def _parse_uri(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return an absolute URL."""
    if value is not None and not (urlsplit(value).scheme and urlsplit(value).netloc):
        raise click.BadParameter(f"{value!r} is not a URL: write it as http://127.0.0.1:8789/", ctx, param)
    return value


@click.command("login")
@click.option(
    "--redirect-uri",
    callback=_parse_uri,
    help="Redirect URI of your app, exactly as registered.  [default: UPSTOX_REDIRECT_URI]",
)
@click.option("--paste", is_flag=True, help="Paste the address here: for a browser on another machine, or a container.")
def command(redirect_uri: str | None, *, paste: bool) -> None:
    """Get an access token from the vendor and store it in .env, readable by you only.

    Prints the address of the vendor's login page: open it in a browser and log in. The browser then goes to your
    app's redirect URI with a code in the address. If the URI is http://127.0.0.1:PORT or http://localhost:PORT,
    this command receives the code itself; otherwise paste the address here. A running ingester that waits for a
    token takes the new one within seconds.
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
            raise ConfigError(f"{name} is not set: set it in the environment or in .env; {REMEDY}")
    assert config.upstox_api_key and config.upstox_api_secret and redirect_uri
    state = secrets.token_urlsafe(16)
    query = {
        "response_type": "code",
        "client_id": config.upstox_api_key.get_secret_value(),
        "redirect_uri": redirect_uri,
        "state": state,
    }
    dialog = f"{config.api_url}/v2/login/authorization/dialog?{urlencode(query)}"
    # Unfiltered: the address contains the app's key.
    click.echo(f"open this address in a browser and log in:\n{dialog}", file=unfenced_stdout())
    code = asyncio.run(_code(redirect_uri, state, is_pasted=paste))

    async def fetch() -> str:
        from ingest.upstox.rest import UpstoxApi

        async with UpstoxApi(config) as api:
            return await api.login(code, redirect_uri)

    store_token(ENV_FILE, asyncio.run(fetch()))
    click.echo(f"token stored in {ENV_FILE.resolve()}; it ends at 03:30 IST")
    if os.environ.get(NAME):
        click.echo(
            f"note: {NAME} is also set in the environment, which overrides .env at the next start: unset it", err=True
        )


async def _code(redirect_uri: str, state: str, *, is_pasted: bool = False) -> str:
    """Return the code of the dialog's answer: from a listener on this machine, or pasted by the user."""
    parts = urlsplit(redirect_uri)
    if not is_pasted and parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost"} and parts.port:
        click.echo(f"waiting for the browser on port {parts.port}; Ctrl-C stops")
        return await _listen(parts.port, parts.path or "/", state)
    return str(click.prompt("paste the address that the browser went to", hide_input=True, value_proc=_pasted(state)))


def _pasted(state: str) -> Callable[[str], str]:
    """Return a parser of the pasted address; when it raises, click prints the reason and asks again."""

    def code(address: str) -> str:
        try:
            return code_of(address, state)
        except FeedError as exc:
            raise click.UsageError(str(exc)) from None

    return code


async def _listen(port: int, path: str, state: str) -> str:
    """Serve the redirect URI until the browser brings the answer of our dialog; return its code.

    Any web page can send a browser here. A request that does not belong to our dialog gets an error page, and the
    wait continues.
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
    """Return HTTP status and page text for a request; set `came` if the request has our code."""
    try:
        if urlsplit(target).path != path:
            return 404, "Tickline: this is not the login address."
        code = code_of(target, state)
    except (FeedError, ValueError) as exc:
        return 400, f"Tickline: {exc if isinstance(exc, FeedError) else 'this is not a valid address'}."
    if not came.done():
        came.set_result(code)
    return 200, "Tickline has the code; close this page."


def code_of(address: str, state: str) -> str:
    """Return the code in the address that the dialog redirected to.

    Raises
    ------
    FeedError
        If the address has no code, or belongs to another dialog than ours.
    """
    answer = parse_qs(urlsplit(address.strip()).query)
    if answer.get("state", [""]) != [state]:
        raise FeedError("the answer belongs to another dialog (its state differs): use the address printed last")
    if "code" not in answer:
        raise FeedError("the address has no code: log in again and paste the whole address")
    return answer["code"][0]


def store_token(path: Path, token: str) -> None:
    """Set the token in a settings file, atomically; keep everything else and make the file private to its owner.

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
