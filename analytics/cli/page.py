"""`tickline page`: serve the live page of this machine's ingester and database.

Owns the arguments. Imports slow modules when it runs, so that help is instant.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal

import click

from ingest.errors import ConfigError

NO_LIBRARY = "the page needs NiceGUI, which is not installed: run `pip install 'tickline[page]'`"


def _parse_host(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return an address or a host name."""
    if value is not None and not re.fullmatch(r"[A-Za-z0-9_.:-]+", value):
        raise click.BadParameter(f"{value!r} is no address: write one such as 127.0.0.1", ctx, param)
    return value


@click.command("page")
@click.option(
    "--host",
    metavar="ADDRESS",
    callback=_parse_host,
    help="Address to listen on.  [default: TICKLINE_PAGE_HOST, 127.0.0.1]",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0: any free port.  [default: TICKLINE_PAGE_PORT, 8790]",
)
@click.option(
    "--for",
    "for_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after this many seconds.",
    metavar="SECONDS",
)
def command(host: str | None, port: int | None, for_s: float | None) -> None:
    """Show the ingester, its instruments, charts, option chains and signals in a browser, live.

    A process of its own: it asks the ingester's HTTP API (TICKLINE_API_HOST, TICKLINE_API_PORT) once a second and
    reads the database (TICKLINE_READ_DATABASE_URL, otherwise TICKLINE_DATABASE_URL), however many browsers look.
    If either is away, the page says so and goes on when it is back. Nothing is loaded from the internet.

    On loopback, which is the default, whoever uses this machine may look. On another address every browser is asked
    for a password: the token in the file api-token of TICKLINE_HOME (any user name). HTTP is not encrypted: put a TLS
    proxy in front, or use a tunnel (`ssh -L 8790:127.0.0.1:8790 HOST`).
    """
    from ingest.database.settings import load

    try:
        from analytics.page.server import listen, serve
    except ModuleNotFoundError as exc:
        raise ConfigError(NO_LIBRARY) from exc
    from analytics.page.api import Ingester
    from analytics.page.settings import PageSettings
    from analytics.page.token import stored_token
    from ingest.addresses import is_loopback
    from ingest.database.connections import Database

    given = {name: value for name, value in (("page_host", host), ("page_port", port)) if value is not None}
    settings = load(PageSettings, **given)
    is_local = is_loopback(settings.page_host)
    token = None if is_local and is_loopback(settings.api_host) else stored_token(settings.home)
    if not is_local and token is None:
        raise ConfigError(
            f"page on {settings.page_host!r} needs the API token, and {str(settings.home)!r} has none: run "
            "`tickline start` first, or listen on 127.0.0.1"
        )
    with Database.place(settings) as database, listen(settings.page_host, settings.page_port) as listening:
        port = listening.getsockname()[1]
        name = f"[{settings.page_host}]" if ":" in settings.page_host else settings.page_host

        def opened() -> None:
            click.echo(f"page: http://{name}:{port}/  (Ctrl-C stops)")

        async def run() -> None:
            with_token = None if is_loopback(settings.api_host) else token
            page = serve(
                listening,
                settings.page_host,
                ingester=lambda: Ingester(settings.api_host, settings.api_port, with_token),
                database=database,
                token=token,
                opened=opened,
            )
            serving = asyncio.create_task(page)
            stopped = asyncio.create_task(_stopped(for_s))
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not serving.done():
                serving.cancel()
                await asyncio.wait({serving})
            if not serving.cancelled():
                serving.result()

        asyncio.run(run())
        click.echo("page stopped", err=True)


async def _stopped(for_s: float | None) -> None:
    """Wait for a signal that ends the command, at most some seconds."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # One that the caller ignores (nohup) stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await stopping.wait()
