"""Trust: whose certificates a client believes, and what to do about one that it does not believe.

Must not know what travels over the connection.
"""

from __future__ import annotations

import ssl
from pathlib import Path

from ingest.errors import ConfigError

# Numbers of OpenSSL (x509_vfy.h).
EXPIRED, NOT_YET = 10, 9
OTHER_NAME = frozenset({62, 64})  # of a host, of an IP address


def client_context(authority: Path | None, setting: str) -> ssl.SSLContext:
    """Return the TLS context of a client, which checks authority, name and time.

    Parameters
    ----------
    authority
        PEM file with the authority of the server's certificate; None: those of the system.
    setting
        Which setting names it, for errors.

    Raises
    ------
    ConfigError
        If the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError) as exc:
        said = exc.strerror or exc
        raise ConfigError(f"authority {str(authority)!r} cannot be used: {said}: see {setting}") from exc


def why_not_trusted(error: BaseException, setting: str) -> str | None:
    """Return what is wrong with a server's certificate, and the remedy; None: the error is about something else.

    Parameters
    ----------
    error
        Of a connection; the libraries wrap the one of `ssl`.
    setting
        Which setting names the authority.
    """
    seen: BaseException | None = error
    # aiohttp's error is also one of `ssl`, without what that says.
    while seen is not None and not (isinstance(seen, ssl.SSLCertVerificationError) and hasattr(seen, "verify_code")):
        seen = getattr(seen, "certificate_error", None) or seen.__cause__ or seen.__context__
    if seen is None:
        return None
    if seen.verify_code in OTHER_NAME:
        return f"its certificate is for another host ({seen.verify_message}): ask by a name that it has"
    if seen.verify_code == EXPIRED:
        return "its certificate has expired: renew it there"
    if seen.verify_code == NOT_YET:
        return "its certificate is not valid yet: compare the clocks"
    return f"its certificate is not trusted ({seen.verify_message}): name its authority's PEM file in {setting}"
