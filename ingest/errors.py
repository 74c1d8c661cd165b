"""The error tree. Foreign errors are translated into it once, in the shell that met them.

TicklineError                      one line for the user: what, the value, the remedy
├── ConfigError                    a setting or an argument is wrong
│   └── UnknownNameError           no instrument has a name, or several have
├── FeedError                      the vendor's side
│   ├── AuthorizationError         401: the token is wrong or has expired
│   ├── DecodeError                a frame that does not parse
│   └── SubscriptionError          keys that cannot be subscribed
├── StoreError                     the database's side
│   ├── Retryable                  try again later; nothing else may be retried
│   ├── Rejected                   these rows will never be accepted
│   └── SchemaError                the schema is absent, too old or too new
└── JournalError                   our own files
    ├── CorruptionError            bytes that are not what was written
    └── VersionError               written by a newer program
"""

from __future__ import annotations


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that a user should read: one of ours if there is one."""
    ours = group.subgroup(TicklineError)
    error: BaseException = ours or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class TicklineError(Exception):
    """Base of every error that a user may see; its text names the remedy."""


class ConfigError(TicklineError):
    """A setting or an argument is wrong."""


class UnknownNameError(ConfigError):
    """No instrument has a name, or several have it and nothing tells which is meant."""


class FeedError(TicklineError):
    """The vendor's service refused or misbehaved; `status` is its HTTP answer, 0 where there was none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class AuthorizationError(FeedError):
    """The access token is missing, wrong or expired (HTTP 401)."""


class DecodeError(FeedError):
    """A frame is not a FeedResponse, or says something impossible."""


class SubscriptionError(FeedError):
    """A subscription cannot be made as asked."""


class StoreError(TicklineError):
    """The database refused or is away."""


class Retryable(StoreError):
    """The database may accept the same request later."""


class Rejected(StoreError):
    """The database will never accept these rows."""


class SchemaError(StoreError):
    """The schema is absent, older or newer than this program."""


class JournalError(TicklineError):
    """A journal or recording cannot be read or written."""


class CorruptionError(JournalError):
    """Bytes in a journal or recording are not what was written."""


class VersionError(JournalError):
    """A segment has a format that this program does not read."""


def lower_first(text: str) -> str:
    """Return a foreign text as a clause of ours: its first word in lower case, unless that is COPY, URL or the like.

    Examples
    --------
    >>> lower_first("Input should be 1"), lower_first("COPY from stdin failed")
    ('input should be 1', 'COPY from stdin failed')
    """
    first, blank, rest = text.partition(" ")
    return text if first != first.capitalize() else first.lower() + blank + rest
