"""What the OpenAPI document says of every route alike: refusals, parameters, bodies, and the token."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from ingest.live.http.routes import JSON
from ingest.model.frames import MODE_NAMES
from ingest.model.keys import NAME_CHARS_MAX, SEGMENT_CHARS_MAX

# A key or a name, as a pattern that JSON schema and Python read alike.
_OF_KEY = rf"[A-Z_]{{2,{SEGMENT_CHARS_MAX}}}\|[ -{{}}~]{{1,{NAME_CHARS_MAX}}}"
NAME_PATTERN = rf"^({_OF_KEY}|[!-{{}}~][ -{{}}~]{{0,{NAME_CHARS_MAX - 1}}})$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
KEYS_MAX = 200  # in one question; the address of a request is limited anyway


def _keys(**limits: Any) -> Any:
    return Field(
        alias="key",
        description="instrument key or name; repeat it for more",
        max_length=KEYS_MAX,
        examples=[["INFY", "NIFTY FUT"], ["NSE_EQ|INE009A01021"]],
        **limits,
    )


Keys = Annotated[list[Name] | None, _keys()]
NeededKeys = Annotated[list[Name], _keys(min_length=1)]
MEANING = {
    400: "the request is not HTTP, or its host is not this machine",
    401: "a token is needed, or is wrong",
    403: "the request comes from a page in a browser",
    404: "nothing is here, or no instrument has the name; near matches are named",
    405: "the path has no such method",
    408: "the request took too long",
    409: "the keys do not fit, or are not subscribed",
    413: "the body is too large",
    415: "the body is compressed",
    422: "the request is not valid",
    500: "a fault of ours; the log has it",
    503: "the database is away, or there are too many connections",
}
ALWAYS = (400, 401, 403, 408, 413, 415, 500, 503)
KEYS_BODY: dict[str, Any] = {
    "type": "object",
    "required": ["keys"],
    "properties": {
        "keys": {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": NAME_PATTERN}},
        "mode": {"type": "string", "enum": list(MODE_NAMES)},
    },
}
_TOKEN: dict[str, Any] = {"security": [{"token": []}]}


def answers(model: str, *refusals: int, unhealthy: bool = False) -> dict[str, dict[str, Any]]:
    """Return what a route answers: its own form, and the refusals.

    Parameters
    ----------
    model
        Name of a type in `answers.py`, which is only loaded when somebody asks for the document. "": none.
    refusals
        Further status codes than those of all routes.
    unhealthy
        It answers 503 in its own form too.
    """
    found: dict[str, dict[str, Any]] = {
        str(status): {"description": MEANING[status]} | _json(_ref("Refusal"))
        for status in sorted({*ALWAYS, *refusals})
    }
    if model:
        found["200"] = {"description": "done"} | _json(_ref(model))
    if unhealthy:
        found["503"] = {"description": "it is not; the answer says why"} | _json(
            {"anyOf": [_ref(model), _ref("Refusal")]}
        )
    return found


def _ref(model: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model}"}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {JSON: {"schema": schema}}}


def keys_body(*, is_optional: bool = False, mode: bool = True) -> dict[str, Any]:
    """Return what a route says of its body and its token."""
    properties = KEYS_BODY["properties"] if mode else {"keys": KEYS_BODY["properties"]["keys"]}
    schema = KEYS_BODY | {"properties": properties}
    if is_optional:
        del schema["required"]
    example = {"keys": ["NSE_FO|53001", "INFY"]} | ({"mode": "full"} if mode else {})
    content = {JSON: {"schema": schema, "example": example}}
    return _TOKEN | {"requestBody": {"required": not is_optional, "content": content}}
