"""Settings of the page: where it listens, and where the ingester and the database are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ingest.database.settings import DatabaseSettings

Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]+$")]


class PageSettings(DatabaseSettings):
    """Settings of `tickline page`; `ingest.settings` has fields of the same names, so that it knows them all.

    Attributes
    ----------
    page_host, page_port
        Address to listen on. On another address than loopback every request needs the API token.
    api_host, api_port
        Address of the ingester's HTTP API.
    """

    page_host: Host = "127.0.0.1"
    page_port: int = Field(8790, ge=0, le=65535)
    api_host: Host = "127.0.0.1"
    api_port: int = Field(8788, ge=0, le=65535)
