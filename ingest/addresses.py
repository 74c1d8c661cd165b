"""Check addresses before we connect to them or send them a secret. Pure.

Anyone who reads the access token or the one-time code of a feed address can open the account's feed. Both travel only
over TLS or within this machine.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urljoin, urlsplit

URI_CHARS_MAX = 4_000  # the vendor's has 200


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, so that nothing sent to it travels over a network.

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
    """Return a feed address if it is safe to connect to.

    Raises
    ------
    ValueError
        If it is not a WebSocket address, or leads to another machine without encryption. The text does not repeat
        the address, because its code opens the feed.
    """
    if len(uri) > URI_CHARS_MAX or not uri.isascii() or not uri.isprintable() or " " in uri:
        raise ValueError(f"not an address of at most {URI_CHARS_MAX} characters")
    parts = urlsplit(uri)  # raises ValueError for "ws://[::1/"
    host, port = parts.hostname or "", parts.port  # raises ValueError beyond 65535
    if parts.scheme not in {"ws", "wss"} or port == 0 or parts.username is not None:
        raise ValueError("not a WebSocket address")
    if not all(0 < len(label) <= 63 for label in host.removesuffix(".").split(".")) or len(host) > 253:
        raise ValueError("its host name is missing or invalid")
    if parts.scheme == "ws" and not is_loopback(host):
        raise ValueError(f"host {host!r} is not this machine, and ws:// is not encrypted")
    return uri


def redirected(url: str, location: str) -> str:
    """Return the target of a redirect if it is as safe as its origin.

    Raises
    ------
    ValueError
        If it is not an HTTP address, or requests would travel there unencrypted.

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
    # A redirect never leaves TLS; without TLS it never leaves this machine.
    if parts.scheme == "http" and (urlsplit(url).scheme == "https" or not is_loopback(parts.hostname)):
        raise ValueError(f"it leads to host {parts.hostname!r} without encryption")
    return found
