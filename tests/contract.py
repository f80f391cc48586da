"""openapi.yaml, and what an HTTP response must be by it."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema  # type: ignore[import-untyped]
from samcli.yamlhelper import yaml_parse

PATH = Path(__file__).parent.parent / "openapi.yaml"

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}


class Operation(NamedTuple):
    route: str
    """As in the template: `POST /orders`."""
    described: Mapping[str, Any]
    """With references replaced."""


@cache
def document() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml_parse(PATH.read_text())
    return parsed


def inlined(node: Any) -> Any:
    """The same with references replaced; keys beside a reference are kept."""
    if isinstance(node, list):
        return [inlined(each) for each in node]
    if not isinstance(node, dict):
        return node
    here = {name: inlined(value) for name, value in node.items() if name != "$ref"}
    if isinstance(ref := node.get("$ref"), str):
        found: Any = document()
        for name in ref.removeprefix("#/").split("/"):
            found = found[name]
        return inlined(found) | here
    return here


@cache
def operations() -> dict[str, Operation]:
    found = {}
    for path, item in document()["paths"].items():
        shared = inlined(item.get("parameters", []))
        for method in sorted(METHODS & item.keys()):
            described = inlined(item[method])
            described["parameters"] = shared + described.get("parameters", [])
            route = f"{method.upper()} {path}"
            found[route] = Operation(route, described)
    return found


def problem_codes(route: str) -> set[tuple[int, str]]:
    """Each status and problem code that the route can answer."""
    found = set()
    for status, response in operations()[route].described["responses"].items():
        problem = response.get("content", {}).get("application/problem+json")
        if problem:
            [codes] = [part["properties"]["code"] for part in problem["schema"]["allOf"][1:]]
            found |= {(int(status), code) for code in codes["enum"]}
    return found


def closed(schema: Any, *, part: bool = False) -> Any:
    """The same schema without unknown fields.

    The document leaves its schemas open because clients must ignore unknown fields; the product
    itself may only answer fields that are described.
    """
    if not isinstance(schema, dict):
        return schema
    result = dict(schema)
    for name, value in schema.items():
        if name == "allOf":
            result[name] = [closed(each, part=True) for each in value]
        elif name == "properties":
            result[name] = {field: closed(each) for field, each in value.items()}
        elif name == "items":
            result[name] = closed(value)
    if not part and schema.keys() & {"allOf", "properties"}:
        result["unevaluatedProperties"] = False
    return result


@cache
def _validator(route: str, status: int, media_type: str) -> Any:
    response = operations()[route].described["responses"][str(status)]
    return jsonschema.Draft202012Validator(closed(response["content"][media_type]["schema"]))


def complaints(
    route: str, status: int, headers: Mapping[str, str], body: Mapping[str, Any]
) -> Iterator[str]:
    """Each difference between a response and the document."""
    described = operations()[route].described["responses"].get(str(status))
    media_type = headers["content-type"]
    if described is None or media_type not in described["content"]:
        yield f"{route}: {status} as {media_type} is not described"
        return
    for error in _validator(route, status, media_type).iter_errors(body):
        yield f"{route}: {status}: {error.json_path}: {error.message}"
    retry_after = {name.lower(): value for name, value in headers.items()}.get("retry-after")
    if retry_after and "Retry-After" not in described.get("headers", {}):
        yield f"{route}: {status} with Retry-After is not described"
    if retry_after != (str(body["retry_after"]) if "retry_after" in body else None):
        yield f"{route}: {status}: Retry-After and retry_after differ"


def examples(node: Any) -> Iterator[tuple[Any, Any]]:
    """Each example below a node, with its schema."""
    if isinstance(node, list):
        for each in node:
            yield from examples(each)
    if not isinstance(node, dict):
        return
    shown = node.get("examples")
    if isinstance(shown, list):
        yield from ((node, each) for each in shown)
    if "schema" in node:
        yield from ((node["schema"], each["value"]) for each in (shown or {}).values())
        if "example" in node:
            yield node["schema"], node["example"]
    for name, value in node.items():
        if name not in {"example", "examples"}:
            yield from examples(value)
