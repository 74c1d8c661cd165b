"""Settings of the database, from the environment and `.env`.

Owns the address of the database, its engine, and the errors for wrong values.
Must not know what is stored, nor any other setting: `ingest.settings` builds on this class.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ingest.env_file import read_env
from ingest.errors import ConfigError, lower_first
from ingest.redaction import hide_all

Engine = Literal["timescale", "postgres"]
PREFIX = "TICKLINE_"
# Of difflib, 0 to 1, without the prefix. A mistyped name is nearer than this to the right one; foreign variables are
# not.
NEAR_MIN = 0.76
# What Kubernetes creates for a service with our name, such as TICKLINE_PORT.
OF_KUBERNETES = re.compile(rf"{PREFIX}(PORT|PORT_\d+_(TCP|UDP)(_\w+)?|SERVICE_(HOST|PORT)(_\w+)?)")
# Whoever reads or writes meanwhile waits behind the upgrade: longer than any query of ours, shorter than a nuisance.
UPGRADE_LOCK_TIMEOUT_S = 10.0
# A replica that works is behind by milliseconds, and by seconds while it replays a large transaction.
READ_LAG_S_MAX = 60.0


def default_home() -> Path:
    """Return the data folder of this user, according to the XDG base directory specification."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "tickline"


def _expanded(path: Path) -> Path:
    """Return a path whose ~ is replaced, as a shell does; the value of `.env` has met no shell."""
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise ValueError(f"{str(exc).rstrip('.')}: write the whole path") from exc


ExpandedPath = Annotated[Path, AfterValidator(_expanded)]


class DatabaseSettings(BaseSettings):
    """Address of the database.

    Attributes
    ----------
    database_url
        libpq URL of a running server; None: the embedded server under `home`.
    read_database_url
        The same database for whoever only reads: another login, or a streaming replica; None: `database_url`.
    read_fallback
        Whether reading goes to the server of `database_url` while a replica is away or too far behind.
    read_lag_s_max
        How far a replica may be behind, seconds; 0: any.
    writer_password, reader_password
        Passwords of the roles of these names, for URLs without one; `tickline db upgrade --with-roles` sets them.
    home
        Folder of everything that this program stores.
    timescaledb_dir
        Folder with `lib/` and `share/extension/` of TimescaleDB, for the embedded server.
    engine
        The engine to make the schema for at the first upgrade; None: the better available one.
    embedded_wal_level
        What the embedded server logs: `replica` allows `pg_basebackup` and standbys, and writes more.
    upgrade_lock_timeout_s
        How long an upgrade waits for a lock; 0: for ever.
    knows_all_names
        Whether an unknown name with our prefix is unknown to every other part of the program too.
    """

    knows_all_names: ClassVar[bool] = False
    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = None
    read_database_url: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("TICKLINE_READ_DATABASE_URL", "TICKLINE_READER_DATABASE_URL")
    )
    read_fallback: bool = False
    read_lag_s_max: float = Field(READ_LAG_S_MAX, ge=0, le=7 * 86_400)
    writer_password: SecretStr | None = None
    reader_password: SecretStr | None = None
    home: ExpandedPath = Field(default_factory=default_home)
    timescaledb_dir: ExpandedPath | None = Field(default=None, validation_alias=AliasChoices("TIMESCALEDB_DIR"))
    engine: Engine | None = None
    embedded_wal_level: Literal["minimal", "replica"] = "minimal"
    upgrade_lock_timeout_s: float = Field(UPGRADE_LOCK_TIMEOUT_S, ge=0, le=86_400)

    @property
    def passwords(self) -> dict[str, str]:
        """Passwords by role; only of those that have one."""
        given = {"tickline_writer": self.writer_password, "tickline_reader": self.reader_password}
        return {role: password.get_secret_value() for role, password in given.items() if password is not None}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read `.env` ourselves: the library's errors would contain the file's text."""
        return init_settings, env_settings, _EnvFile(settings_cls)


class _EnvFile(EnvSettingsSource):
    """The settings of `.env`, named as in the environment."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in read_env().items() if value}


S = TypeVar("S", bound=DatabaseSettings)


def load(cls: type[S], **overrides: Any) -> S:
    """Read the settings `cls` from the environment, `.env` and `overrides`; later ones win.

    Raises
    ------
    ConfigError
        If a value is wrong: states the setting as the user spells it, the value and what is allowed.
        If a name with our prefix belongs to no setting.
    """
    check_names(cls)
    try:
        found = cls(**overrides)
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        name = str(error["loc"][0]) if error["loc"] else "settings"
        setting = setting_name(cls, name)
        allowed = lower_first(error["msg"].removeprefix("Value error, "))
        value = "" if is_secret(cls, name) else f" has the wrong value {error['input']!r}"
        # Not `from exc`, here and wherever an error holds the given value: a traceback would print it.
        raise ConfigError(f"setting {setting}{value or ' is wrong'}: {allowed}") from None
    for field in cls.model_fields:
        if isinstance(secret := getattr(found, field), SecretStr):
            hide_all(secret.get_secret_value())
    return found


def check_names(cls: type[DatabaseSettings]) -> None:
    """Refuse unknown names with our prefix: any in `.env`, but only mistyped ones in the environment."""
    known = {name for field in cls.model_fields for name in setting_names(cls, field)}
    known |= {f"{PREFIX}{name}".upper() for name in cls.model_fields}
    for place, names in ((".env", list(read_env())), ("the environment", list(os.environ))):
        for name in map(str.upper, names):
            if not name.startswith(PREFIX) or name in known:
                continue
            if place != ".env" and OF_KUBERNETES.fullmatch(name):
                continue
            if near := _nearest(name, known):
                raise ConfigError(f"setting {name!r} in {place} does not exist: write {near}")
            if place == ".env" and cls.knows_all_names:
                raise ConfigError(f"setting {name!r} in {place} does not exist: correct its name, or remove it")


def _nearest(name: str, known: set[str]) -> str | None:
    """Return the setting that was perhaps meant; None if none is similar."""
    own = name.removeprefix(PREFIX)
    ratios = {one: difflib.SequenceMatcher(None, own, one.removeprefix(PREFIX)).ratio() for one in sorted(known)}
    best = max(ratios, key=ratios.__getitem__)
    return best if ratios[best] >= NEAR_MIN else None


def _field(cls: type[BaseSettings], name: str) -> FieldInfo | None:
    """Return the field that `name` (its own or its alias) means."""
    for field_name, field in cls.model_fields.items():
        alias = field.validation_alias
        aliases = alias.choices if isinstance(alias, AliasChoices) else [alias]
        if name == field_name or name in aliases:
            return field
    return None


def setting_name(cls: type[BaseSettings], name: str) -> str:
    """Return the name of a field in the environment."""
    return setting_names(cls, name)[0]


def setting_names(cls: type[BaseSettings], name: str) -> list[str]:
    """Return the names of a field in the environment; after the first, those of earlier versions, which still work."""
    field = _field(cls, name)
    if field is not None and isinstance(field.validation_alias, AliasChoices):
        return [str(one) for one in field.validation_alias.choices]
    if field is not None and isinstance(field.validation_alias, str):
        return [field.validation_alias]
    return [f"{cls.model_config.get('env_prefix', '')}{name}".upper()]


def is_secret(cls: type[BaseSettings], name: str) -> bool:
    """Return whether the value of a field must not be shown; unknown fields count as secret."""
    field = _field(cls, name)
    return field is None or "Secret" in str(field.annotation)
