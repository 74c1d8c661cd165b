"""Documentation of the API: its OpenAPI document, and a page made of it.

The page has no script and loads nothing, so it works without the internet, and nothing runs on the API's address.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import metadata
from typing import Any, Literal

from pydantic import BaseModel

from ingest.live.http.described import ALWAYS, MEANING
from ingest.live.http.routes import Request, Response, Route, Routes, answered

OPENAPI, DOCS = "/openapi.json", "/docs"
ABOUT = """State, subscriptions, bars and a stream of events of a running Tickline recorder.

Reading needs no token while the recorder listens on loopback. What changes something needs the token in the file
`api-token` of `TICKLINE_HOME`, as `Authorization: Bearer …`; elsewhere reading needs it, too, or `reader-token`. Every
refusal is `{"error": text}`. Times are UTC."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid GrayText; }
h3 { margin-top: 2rem; }
code, pre { font: 0.9em ui-monospace, monospace; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid GrayText; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 1rem 0.25rem 0; border-bottom: 1px solid GrayText; }
"""


def add_documentation(routes: Routes) -> None:
    """Add the routes. The document is made for each who asks, on a thread: few do, and frames must not wait for it."""

    @routes.add("GET", OPENAPI)
    async def openapi(_: Request) -> Response:
        return answered(await asyncio.to_thread(document, routes))

    @routes.add("GET", DOCS)
    async def docs(request: Request) -> Response:
        url = f"{request.scheme}://{request.headers.get('host', '')}"
        made = await asyncio.to_thread(lambda: page(document(routes), url).encode())
        headers = {"content-security-policy": POLICY, "x-content-type-options": "nosniff"}
        return Response(made, headers=headers, media_type="text/html; charset=utf-8")


def document(routes: Routes) -> dict[str, Any]:
    """Return the OpenAPI document of the routes that have a summary."""
    types = importlib.import_module("ingest.live.http.answers")
    making = importlib.import_module("pydantic.json_schema")
    asked: list[tuple[type[BaseModel], Literal["serialization"]]] = [(one, "serialization") for one in types.DOCUMENTED]
    _, schemas = making.models_json_schema(asked, ref_template="#/components/schemas/{model}")
    for name, example in types.EXAMPLES.items():
        schemas["$defs"][name]["example"] = example
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if route.summary:
            paths.setdefault(route.path, {})[route.method.lower()] = _said_of(route)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Tickline", "version": metadata.version("tickline"), "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return found


def _said_of(route: Route) -> dict[str, Any]:
    said = dict(route.said)
    name = re.sub(r"\W", "_", f"{route.handler.__name__}{route.path}_{route.method.lower()}")
    parameters: list[Any] = [*_parameters(route.query), *said.pop("parameters", ())]
    found: dict[str, Any] = {"tags": [said.pop("tag")], "summary": route.summary, "operationId": name}
    found |= said.pop("more", {})
    return found | said | ({"parameters": parameters} if parameters else {})


def _parameters(query: type[BaseModel] | None) -> Iterator[Mapping[str, Any]]:
    if query is None:
        return
    whole: dict[str, Any] = query.model_json_schema()
    for name, schema in whole["properties"].items():
        described = {"description": schema.pop("description")} if "description" in schema else {}
        if schema.get("default", ...) is None:
            del schema["default"]
        yield {"name": name, "in": "query", "required": name in whole.get("required", ()), "schema": schema} | described


def page(found: dict[str, Any], url: str) -> str:
    """Return the document as a page in HTML."""
    about = "".join(f"<p>{_text(part)}</p>" for part in found["info"]["description"].split("\n\n"))
    schemas = found["components"]["schemas"]
    parts = [f"<h1>Tickline {escape(found['info']['version'])}: HTTP API</h1>{about}"]
    parts.append(f'<p>The same for programs: <a href="{OPENAPI}">{OPENAPI}</a></p><nav><ul>')
    operations = [(method, path, said) for path, methods in found["paths"].items() for method, said in methods.items()]
    parts += [
        f'<li><a href="#{_anchor(method, path)}"><code>{method.upper()} {escape(path)}</code></a> '
        f"{escape(said['summary'])}"
        for method, path, said in operations
    ]
    parts.append("</ul></nav><main>")
    group = ""
    for method, path, said in operations:
        tag = said.get("tags", ["other"])[0]
        if tag != group:
            group = tag
            parts.append(f"<h2>{escape(tag.capitalize())}</h2>")
        parts += _operation(method, path, said, schemas, url)
    parts.append("<h2>Refusals</h2><p>Every path may answer these; its own are said with it.</p>")
    parts.append(_table(("status", "meaning"), [(str(status), MEANING[status]) for status in ALWAYS]))
    parts.append(_sample(schemas["Refusal"]))
    parts.append("<h2>Types</h2>")
    shown = {_model(said) for _, _, said in operations}
    for name, schema in schemas.items():
        if name not in shown and "properties" in schema:
            parts.append(f'<h3 id="type-{escape(name)}">{escape(name)}</h3>{_fields("field", schema)}')
    parts.append("</main>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Tickline: HTTP API</title><style>{STYLE}</style>'  # noqa: E501
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _operation(method: str, path: str, said: dict[str, Any], schemas: dict[str, Any], url: str) -> Iterator[str]:
    yield f'<h3 id="{_anchor(method, path)}"><code>{method.upper()} {escape(path)}</code></h3>'
    yield f"<p>{escape(said['summary'])}.</p>"
    if said.get("description"):
        yield f"<p>{_text(said['description'])}</p>"
    if parameters := said.get("parameters"):
        rows = [
            (
                one["name"] + (" (header)" if one["in"] == "header" else ""),
                _form(one["schema"]),
                one.get("description", ""),
            )
            for one in parameters
        ]
        yield _table(("parameter", "form", ""), rows)
    body = said.get("requestBody", {}).get("content", {}).get("application/json", {})
    yield f"<pre>{escape(_curl(method, path, said, body, url))}</pre>"
    if (name := _model(said)) in schemas:
        yield _fields("answer", schemas[name]) + _sample(schemas[name])
    own = [
        (status, answer["description"])
        for status, answer in sorted(said["responses"].items())
        if (status != "200" and answer["description"] != MEANING.get(int(status))) or int(status) not in {200, *ALWAYS}
    ]
    if own:
        yield _table(("status", "meaning"), own)


def _model(said: dict[str, Any]) -> str:
    """Return the name of the type of an answer; "": it has none."""
    for content in said["responses"]["200"].get("content", {}).values():
        return str(content.get("schema", {}).get("$ref", "")).rpartition("/")[2]
    return ""


def _fields(head: str, schema: dict[str, Any]) -> str:
    rows = [(field, _form(form), form.get("description", "")) for field, form in schema["properties"].items()]
    return _table((head, "form", ""), rows)


def _sample(schema: dict[str, Any]) -> str:
    if "example" not in schema:
        return ""
    return f"<pre>{escape(json.dumps(schema['example'], indent=2, ensure_ascii=False))}</pre>"


def _text(text: str) -> str:
    """Return a text with its code between backticks as such."""
    return "".join(
        f"<code>{escape(part)}</code>" if place % 2 else escape(part) for place, part in enumerate(text.split("`"))
    )


def _curl(method: str, path: str, said: dict[str, Any], body: dict[str, Any], url: str) -> str:
    query = [
        f"{one['name']}={_example(one)}"
        for one in said.get("parameters", ())
        if one["in"] == "query" and _example(one) is not None
    ]
    parts = ["curl"]
    if said.get("security"):
        parts.append('-H "Authorization: Bearer $(cat $TICKLINE_HOME/api-token)"')
    if body:
        parts.append(f"-d '{json.dumps(body['example'])}'")
    elif method == "post":
        parts.append("-X POST")
    return " ".join([*parts, f'"{url}{path}{"?" + "&".join(query) if query else ""}"'])


def _example(parameter: dict[str, Any]) -> str | None:
    return {"key": "INFY", "interval": "15m", "search": "NIFTY", "kind": "tick"}.get(parameter["name"])


def _form(schema: dict[str, Any]) -> str:
    """Return the form of a value in words."""
    if "enum" in schema or "const" in schema:
        return ", ".join(json.dumps(one).strip('"') for one in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_form(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"list of {_form(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_form(schema['additionalProperties'])}"
    return {"date-time": "time", "date": "date"}.get(schema.get("format", ""), str(schema.get("type", "any")))


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{f'<code>{escape(cell)}</code>' if not place else _text(cell)}</td>" for place, cell in enumerate(row)
        )
        for row in rows
    )
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def _anchor(method: str, path: str) -> str:
    return escape(f"{method}-{path.strip('/').replace('/', '-')}")
