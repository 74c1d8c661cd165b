"""Addresses: which ones may be connected to, and told a secret. Pure.

The access token and the one-time code of a feed address open the account's feed to whoever reads them. They travel
over TLS only, or to this machine.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

URI_CHARS_MAX = 4_000  # the vendor's has 200


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: what is sent to it is on no wire.

    Examples
    --------
    >>> [is_loopback(host) for host in ("127.0.0.2", "::1", "localhost", "192.0.2.2", "localhost.example.com")]
    [True, True, True, False, False]
    """
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def feed_uri(uri: str) -> str:
    """Return a feed address if it may be connected to.

    Raises
    ------
    ValueError
        If it is none, or if what is sent there could be read on the way. The text does not repeat the address:
        its code opens the feed.
    """
    if len(uri) > URI_CHARS_MAX or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise ValueError(f"no address of up to {URI_CHARS_MAX} characters")
    parts = urlsplit(uri)  # raises ValueError for "ws://[::1/"
    host, port = parts.hostname or "", parts.port  # raises ValueError beyond 65535
    if parts.scheme not in {"ws", "wss"} or port == 0 or parts.username is not None:
        raise ValueError("no WebSocket address")
    if not all(0 < len(label) <= 63 for label in host.removesuffix(".").split(".")) or len(host) > 253:
        raise ValueError("no host name in it")
    if parts.scheme == "ws" and not is_loopback(host):
        raise ValueError(f"host {host!r} is not this machine, and ws:// is not encrypted")
    return uri


def redirected(url: str, location: str) -> str:
    """Return where a redirect leads, if that is as safe as where it comes from.

    Raises
    ------
    ValueError
        If it is no HTTP address, or one to which requests would travel readable.

    Examples
    --------
    >>> redirected("https://assets.example/a/b.gz", "../c.gz")
    'https://assets.example/c.gz'
    """
    if not location or len(location) > URI_CHARS_MAX or not location.isascii() or not location.isprintable():
        raise ValueError(f"it names no address of up to {URI_CHARS_MAX} characters")
    found = urljoin(url, location)
    parts = urlsplit(found)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("it names no HTTP address")
    # From TLS nothing leads out of it; without TLS we are on this machine, and stay.
    if parts.scheme == "http" and (urlsplit(url).scheme == "https" or not is_loopback(parts.hostname)):
        raise ValueError(f"it leads to host {parts.hostname!r} without encryption")
    return found
