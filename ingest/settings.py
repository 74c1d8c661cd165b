"""Settings of the ingester, from the environment and `.env` (pydantic-settings).

The vendor's settings keep the vendor's names; ours begin with `TICKLINE_`. `.env.example` lists all of them, and a
test keeps the two equal.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, HttpUrl, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from ingest.addresses import is_loopback
from ingest.database.settings import DatabaseSettings, ExpandedPath, check_names, load
from ingest.errors import ConfigError

ModeName = Literal["ltpc", "option_greeks", "full", "full_d30"]
Positive = Annotated[float, Field(gt=0)]
COLLECTOR = r"^[A-Za-z0-9_.-]{1,40}$"  # also a folder name
PositiveInt = Annotated[int, Field(gt=0)]


def clean_token(text: str) -> str:
    """Return a token without surrounding blanks, valid in an HTTP header.

    Checked here because HTTP libraries put an invalid header value into their error text.

    Raises
    ------
    ValueError
        If the token has other characters than ASCII letters, digits and punctuation.
    """
    if not re.fullmatch(r"[!-~]*", token := text.strip()):
        raise ValueError("a token is one word of ASCII characters: copy it again, or use `tickline login`")
    return token


def _vendor(name: str) -> AliasChoices:
    return AliasChoices(name)


class LogSettings(DatabaseSettings):
    """Settings of the log files, under `home`."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    log_file_bytes_max: int = Field(10 * 2**20, ge=1_000)  # 70,000 lines; an editor opens it at once
    log_files_max: int = Field(5, ge=1, le=1_000)  # full ones that are kept of each: weeks

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value


class Settings(LogSettings):
    """All settings. Units are in the names; a comment gives the reason for each limit."""

    knows_all_names: ClassVar[bool] = True

    # The vendor.
    upstox_access_token: SecretStr | None = Field(None, validation_alias=_vendor("UPSTOX_ACCESS_TOKEN"))
    upstox_api_key: SecretStr | None = Field(None, validation_alias=_vendor("UPSTOX_API_KEY"))
    upstox_api_secret: SecretStr | None = Field(None, validation_alias=_vendor("UPSTOX_API_SECRET"))
    upstox_redirect_uri: str | None = Field(None, validation_alias=_vendor("UPSTOX_REDIRECT_URI"))
    # Not used; declared so that all output hides its value.
    upstox_client_code: SecretStr | None = Field(None, validation_alias=_vendor("UPSTOX_CLIENT_CODE"))
    upstox_api_url: HttpUrl = Field(HttpUrl("https://api.upstox.com"), validation_alias=_vendor("UPSTOX_API_URL"))
    upstox_assets_url: HttpUrl = Field(
        HttpUrl("https://assets.upstox.com"), validation_alias=_vendor("UPSTOX_ASSETS_URL")
    )

    # What to record.
    universe: Annotated[tuple[str, ...], NoDecode] = ()
    mode: ModeName = "full"
    exchanges: Annotated[tuple[Literal["NSE", "BSE"], ...], NoDecode] = ("NSE",)
    underlyings: Annotated[tuple[str, ...], NoDecode] = ()
    underlyings_exclude: Annotated[tuple[str, ...], NoDecode] = ()
    spot: bool = True
    futures: int = Field(2, ge=0, le=3)  # the exchange lists three
    option_strikes: int | None = Field(None, ge=0)
    option_expiries: PositiveInt = 1
    spot_mode: ModeName | None = None
    futures_mode: ModeName | None = None
    options_mode: ModeName | None = None
    atm_hysteresis: float = Field(0.25, ge=0, le=0.5)  # a spot that swings by half a strike moves no window
    universe_follow_s: Positive = 5.0  # an option window may lag the spot by this
    plus: bool = False
    standby: bool = False
    connections_max: PositiveInt | None = None
    collector: Annotated[str, Field(pattern=COLLECTOR)] = "default"

    # The feed.
    feed_route: Literal["authorize", "direct"] = "authorize"
    subscribe_batch_keys: int = Field(50, gt=0, le=2000)  # 2,000 (34 KB) also work; small requests are confirmed sooner
    subscribe_interval_ms: int = Field(1000, ge=0)  # the vendor documents no limit; this is cautious
    ping_interval_s: Positive = 30.0
    ping_timeout_s: Positive = 10.0
    http_timeout_s: Positive = 10.0  # also the longest silence while an instrument master arrives
    master_timeout_s: Positive = 180.0  # a list of 10 MB at 60 kB/s
    answer_bytes_max: PositiveInt = 16 * 2**20  # a month of minute bars of one key is under 1 MiB
    master_bytes_max: PositiveInt = 64 * 2**20  # that of all exchanges is under 10 MB compressed
    master_unpacked_bytes_max: PositiveInt = 256 * 2**20  # that of NSE is 38 MB of JSON
    # A snapshot of 2,000 full keys is almost 1 MiB. The journal's format allows no larger record than 16 MiB.
    frame_bytes_max: int = Field(16 * 2**20, gt=0, le=16 * 2**20)
    feed_silent_s: Positive = 8.0  # of a recorded session's pauses, 8 a day last 8 to 11 s, and 8 over 15 s
    backoff_first_s: Positive = 2.0
    backoff_max_s: Positive = 60.0
    closed_retry_s: Positive = 900.0  # while the market is closed; short enough that a wrong calendar costs little
    confirm_s: Positive = 10.0  # a snapshot comes within a second or two of the request
    key_silent_s: Positive = 120.0  # a key counts as silent only after this and 20 times its usual interval
    token_poll_s: Positive = 5.0  # how often to look for a new token; each look reads one small file

    # New keys in frames that no instrument master has. A connection may have as many keys; a key takes 280 bytes
    # in each checkpoint.
    unknown_keys_per_day_max: int = Field(5_000, ge=0)

    # Repair of bars.
    backfill_s: float = Field(15.0, ge=0)  # how often to repair missed minutes; 0: only by `tickline backfill`

    # The evening job: after each trading day, while nothing trades.
    export: bool = False
    retain_days: PositiveInt | None = None

    # The pool of database connections, which serves all but the writer.
    pool_min: int = Field(0, ge=0)  # that stay open when nobody needs them
    pool_max: PositiveInt = 4  # universe, bars, backfill and one question of a client: nobody waits
    pool_wait_s: Positive = 10.0  # for a free connection; longer than any question, shorter than a large refresh

    # The journal.
    journal_segment_bytes_max: PositiveInt = 256 * 2**20  # a day of 2,000 keys fills a few dozen
    journal_fsync_ms: int = Field(100, ge=0)  # longest time that a power cut may cost; 0 syncs every frame
    journal_quota_bytes: int = Field(50 * 2**30, ge=0)  # two weeks of uncommitted full market data
    journal_free_bytes_min: int = Field(2 * 2**30, ge=0)  # the database may need space on the same disk
    journal_room_bytes_warn: int = Field(2**30, ge=0)  # some hours of full market data
    journal_keep_days: int = Field(7, ge=0)  # lets us replay a week after a bug in our own code
    journal_retry_s: Positive = 1.0

    # The journal for other machines.
    journal_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]+$")] = "127.0.0.1"
    journal_port: int | None = Field(None, ge=0, le=65535)  # None: `collect` serves its journal, `start` does not
    journal_tls_certificate: ExpandedPath | None = None
    journal_tls_key: ExpandedPath | None = None
    universe_file: ExpandedPath | None = None
    collector_token: SecretStr | None = None
    collector_ca: ExpandedPath | None = None
    collector_lost_s: Positive = 30.0  # a restart and a reconnect take less
    publish: bool = False  # `collect` only
    nats_url: SecretStr | None = None  # may hold a password
    nats_ca: ExpandedPath | None = None
    nats_monitor_url: Annotated[tuple[HttpUrl, ...], NoDecode] = ()  # asked by `doctor` only
    nats_replicas: int = Field(1, ge=1, le=5)
    nats_bytes_max: int = Field(8 * 2**30, ge=2**20)  # a day of full market data for each collector

    # Who may watch.
    # On another address every request needs the token.
    api_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]+$")] = "127.0.0.1"
    api_port: int = Field(8788, ge=0, le=65535)  # next to the simulator's 8787
    handlers: Annotated[tuple[str, ...], NoDecode] = ()

    # Alerts to people.
    alert_url: SecretStr | None = None
    alert_template: str = '{"text": "{text}"}'
    alert_signals: bool = False
    # The live page, a process of its own; `analytics.page.settings` reads them.
    page_host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]+$")] = "127.0.0.1"
    page_port: int = Field(8790, ge=0, le=65535)
    # Spike detection; `analytics.signals.settings` reads it. 0: no limit.
    signals_per_day: float = Field(20, ge=0)

    # The writer.
    batch_rows_max: PositiveInt = 10_000  # three at a time, 5 MB each; half of it: 8 MB less, a tenth slower
    # What a broken feed can make grow besides ticks, by day and collector: 600 bytes a row, and 256 MiB.
    rejected_rows_per_day_max: int = Field(50_000, ge=0)
    quarantine_bytes_per_day_max: int = Field(256 * 2**20, ge=0)  # of which each frame takes 200 bytes besides itself
    depth: bool = False  # store all levels of the order book that the feed sends in `depth`
    commit_pace_ms: int = Field(2, ge=0)  # 50: a third of the CPU at 1,000 ticks/s, and rows 30 ms later
    checkpoint_s: Positive = 10.0  # a restart decodes at most this much again
    database_backoff_first_s: Positive = 0.2
    database_backoff_max_s: Positive = 10.0
    stop_s: Positive = 4.0  # the rest stays in the journal for the next start

    @field_validator(
        "exchanges", "universe", "underlyings", "underlyings_exclude", "handlers", "nats_monitor_url", mode="before"
    )
    @classmethod
    def _split_list(cls, value: object) -> object:
        """Split the comma-separated list of an environment variable."""
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("pool_max")
    @classmethod
    def _at_least_the_smallest(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("pool_min", 0):
            raise ValueError(f"it must not be below TICKLINE_POOL_MIN, {info.data['pool_min']}")
        return value

    @field_validator("upstox_api_url", "upstox_assets_url")
    @classmethod
    def _encrypted(cls, value: HttpUrl) -> HttpUrl:
        """Refuse an address to which the token would travel unencrypted."""
        if value.scheme != "https" and not is_loopback(value.host or ""):
            raise ValueError("http:// would send the token unencrypted to another machine: use https://")
        if value.username or value.password:
            raise ValueError("the vendor's address must have no user and no password: remove them")
        return value

    @field_validator("alert_url")
    @classmethod
    def _postable(cls, value: SecretStr | None) -> SecretStr | None:
        given = value.get_secret_value() if value else ""
        if given and (urlsplit(given).scheme not in {"http", "https"} or not urlsplit(given).netloc):
            raise ValueError("it is not a URL to post to: write it as https://host/path")
        return value if given else None

    @field_validator("alert_template")
    @classmethod
    def _template(cls, value: str) -> str:
        try:
            is_object = isinstance(json.loads(value), dict)
        except (ValueError, RecursionError):
            is_object = False
        if not is_object or "{text}" not in value:
            raise ValueError('it is not a JSON object with a text that has {text}: write it as {"text": "{text}"}')
        return value

    @field_validator(
        "journal_tls_certificate", "journal_tls_key", "universe_file", "collector_ca", "nats_ca", mode="before"
    )
    @classmethod
    def _no_empty_path(cls, value: object) -> object:
        return None if value == "" else value  # Path("") is the current folder

    @field_validator("upstox_access_token", "collector_token")
    @classmethod
    def _clean_token(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(clean_token(value.get_secret_value()))

    @property
    def journal_folder(self) -> Path:
        """Folder of this collector's journal."""
        return self.home / "journal" / self.collector

    @property
    def api_url(self) -> str:
        """Base URL of the REST API without a trailing slash."""
        return str(self.upstox_api_url).rstrip("/")

    @property
    def assets_url(self) -> str:
        """Base URL of the instrument masters without a trailing slash."""
        return str(self.upstox_assets_url).rstrip("/")

    def token(self) -> SecretStr:
        """Return the access token.

        Raises
        ------
        ConfigError
            If none is set.
        """
        if self.upstox_access_token is None or not self.upstox_access_token.get_secret_value():
            raise ConfigError(
                "no access token: run `tickline login`, or set UPSTOX_ACCESS_TOKEN in the environment or in .env "
                "(a token expires at 03:30 IST)"
            )
        return self.upstox_access_token


def settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` win over environment and `.env`.

    Raises
    ------
    ConfigError
        If a value is wrong.
    """
    return load(Settings, **overrides)


def check_setting_names() -> None:
    """Refuse unknown setting names; every command calls this, whatever settings it uses."""
    check_names(Settings)
