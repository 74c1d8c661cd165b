"""Read lists from outside item by item: an invalid item is skipped, the others are kept. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def each(items: Iterable[T], read: Callable[[T], R]) -> tuple[list[R], int]:
    """Read the items of a list from outside, and count those that cannot be read.

    Parameters
    ----------
    items
        Items as received.
    read
        Converts one item; may raise any error for an item of another shape.

    Returns
    -------
    list, int
        The items that could be read, in order, and the number of the others.

    Raises
    ------
    ValueError
        If there are items and none can be read: the list is of another kind.

    Examples
    --------
    >>> each(["1", None, "x", "2"], int)
    ([1, 2], 2)
    """
    found: list[R] = []
    odd, first = 0, ""
    for item in items:
        try:
            found.append(read(item))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, OSError) as exc:
            odd, first = odd + 1, first or type(exc).__name__
    if odd and not found:
        raise ValueError(f"none of {odd} items makes sense ({first})")
    return found, odd
