"""When a token ends, as it says itself."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ingest.upstox.tokens import times_of

ISSUED, ENDS = 1_764_208_800, 1_764_280_800


def jwt(claims: Any) -> str:
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".c2lnbmF0dXJl"


def test_token_that_is_a_jwt_says_when_it_was_issued_and_when_it_ends() -> None:
    assert times_of(jwt({"iat": ISSUED, "exp": ENDS})) == tuple(
        datetime.fromtimestamp(at, UTC) for at in (ISSUED, ENDS)
    )
    assert times_of(jwt({"exp": ENDS}))[0] is None


@pytest.mark.parametrize(
    "token",
    ["", "simulator", "a.b", "a.b.c", "e30.e30.c", jwt([]), jwt("exp"), jwt({"exp": "soon"}), jwt({"exp": True})]
    + [jwt({"exp": float(at)}) for at in (1e18, -1e18)]
    + ["e30." + base64.urlsafe_b64encode(text).decode() + ".c" for text in (b"\xff\xfe", b"[" * 9_999, b'{"exp":NaN}')],
)
def test_token_of_any_other_form_says_nothing_and_is_no_error(token: str) -> None:
    assert times_of(token) == (None, None)
