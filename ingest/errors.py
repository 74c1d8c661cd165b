"""The error tree. The shell that catches a foreign error translates it into this tree, once.

TicklineError                      one line for the user: what, the value, the remedy
├── ConfigError                    a setting or an argument is wrong
│   └── UnknownNameError           a name means no instrument, or several
├── FeedError                      the vendor's side
│   ├── AuthorizationError         401: the token is wrong or has expired
│   ├── DecodeError                a frame does not parse
│   └── SubscriptionError          keys cannot be subscribed
├── StoreError                     the database's side
│   ├── Retryable                  try again later; nothing else may be retried
│   ├── Rejected                   these rows will never be accepted
│   └── SchemaError                the schema is absent, too old or too new
├── NoIngesterError                no ingester answers on this machine
└── JournalError                   our own files
    ├── CorruptionError            a file does not contain what we wrote
    └── VersionError               a newer program wrote the file
"""

from __future__ import annotations


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error to show the user: one of ours if the group has one."""
    ours = group.subgroup(TicklineError)
    error: BaseException = ours or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class TicklineError(Exception):
    """Base of all errors meant for the user; the text names the remedy."""


class ConfigError(TicklineError):
    """A setting or an argument is wrong."""


class UnknownNameError(ConfigError):
    """A name means no instrument, or several and nothing tells which."""


class NoIngesterError(TicklineError):
    """No ingester answers at the address of the settings."""


class FeedError(TicklineError):
    """The vendor's service refused or misbehaved; `status` is its HTTP status, 0 if there was none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class AuthorizationError(FeedError):
    """The access token is missing, wrong or expired (HTTP 401)."""


class DecodeError(FeedError):
    """A frame is not a FeedResponse, or has impossible values."""


class SubscriptionError(FeedError):
    """Keys cannot be subscribed as requested."""


class StoreError(TicklineError):
    """The database refused a request or is away."""


class Retryable(StoreError):
    """The database may accept the same request later."""


class Rejected(StoreError):
    """The database will never accept these rows."""


class SchemaError(StoreError):
    """The schema is absent, older or newer than this program."""


class JournalError(TicklineError):
    """A journal or recording cannot be read or written."""


class CorruptionError(JournalError):
    """A journal or recording does not contain what was written."""


class VersionError(JournalError):
    """A segment has a format version that this program cannot read."""


def lower_first(text: str) -> str:
    """Return a foreign message with its first word in lower case, unless that is COPY, URL or similar.

    Examples
    --------
    >>> lower_first("Input should be 1"), lower_first("COPY from stdin failed")
    ('input should be 1', 'COPY from stdin failed')
    """
    first, blank, rest = text.partition(" ")
    return text if first != first.capitalize() else first.lower() + blank + rest
