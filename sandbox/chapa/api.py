"""What both versions of the API share: keys, the journal and injected faults."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from sandbox.chapa.faults import ANSWER, Call, DroppedError, Fault
from sandbox.chapa.journal import Entry
from sandbox.chapa.records import Account, Mode, Version
from sandbox.chapa.simulator import Simulator

KEYS: dict[Version, re.Pattern[str]] = {
    "v1": re.compile(r"CHASECK(?P<test>_TEST)?-[A-Za-z0-9_-]+"),
    "v2": re.compile(r"CHAPA_(?:(?P<test>TEST)|LIVE)_(?!PUB_)[A-Za-z0-9_-]+"),
}
"""Secret keys (docs.chapa.global/docs/v2/integrations/test-live-mode and developer.chapa.co)."""

HTML = "<!DOCTYPE html>\n<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>\n"

type Body = dict[str, Any]


@dataclass
class ApiRequest:
    """One call: its reference from the path, its fields, its key and what the key sees."""

    ref: str
    raw: bytes
    fields: Body
    entry: Entry
    api_key: str
    account: Account


type Act = Callable[[Simulator, ApiRequest], Body]
type Route = tuple[str, str, Call, Act]


@dataclass(frozen=True)
class Api:
    """One version of the API."""

    version: Version
    routes: Sequence[Route]
    read: Callable[[bytes], Body]
    """The fields of a request's body."""
    about: Callable[[Simulator, Call, str, Body], str | None]
    """The merchant's reference of the payment that a call is about."""
    respond: Callable[[Simulator, Call, Act, ApiRequest], Response]
    failure: Callable[[int], Body]
    """The body of an injected error, by its HTTP status."""


def blueprint(simulator: Simulator, api: Api) -> Blueprint:
    routes = Blueprint(api.version, __name__, url_prefix=f"/{api.version}")
    for method, rule, call, act in api.routes:
        view = partial(handle, simulator, api, call, act)
        endpoint = f"{method} {rule}"
        routes.add_url_rule(rule, endpoint, view, methods=[method], provide_automatic_options=False)
    return routes


def handle(simulator: Simulator, api: Api, call: Call, act: Act, ref: str = "") -> Response:
    """Take effect and respond, or apply the injected fault."""
    raw = request.get_data()
    fields = api.read(raw)
    api_key = bearer()
    if any(key.fullmatch(api_key) for key in KEYS.values()):
        simulator.journal.hide(api_key)
    simulator.end_links()
    tx_ref = api.about(simulator, call, ref, fields)
    fault = simulator.faults.take(call, tx_ref, ANSWER)
    entry = simulator.journal.add(
        call,
        tx_ref,
        simulator.clock(),
        method=request.method,
        url=request.full_path.removesuffix("?"),
        body=raw,
        faults=[fault.kind] if fault else [],
        version=api.version,
    )
    response = reply(api.failure(500), 200)
    if fault is None or fault.acts_first:
        sent = ApiRequest(ref, raw, fields, entry, api_key, (api.version, "test"))
        with simulator.lock:
            response = api.respond(simulator, call, act, sent)
    if fault is not None:
        response = apply_fault(simulator, api, fault, response)
    entry.status = response.status_code
    return response


def apply_fault(simulator: Simulator, api: Api, fault: Fault, response: Response) -> Response:
    match fault.kind:
        case "timeout_before" | "timeout_after":
            simulator.hold(fault.seconds)
            raise DroppedError(reset=False)
        case "reset" | "reset_after":
            raise DroppedError(reset=True)
        case "slow":
            simulator.hold(fault.seconds)
        case "status":
            response = reply(api.failure(fault.status), fault.status)
            if fault.retry_after is not None:
                response.headers["Retry-After"] = str(fault.retry_after)
        case "html":
            response = Response(HTML.format("Bad Gateway"), fault.status, mimetype="text/html")
        case "malformed":
            text = response.get_data(as_text=True)
            response = Response(text[: len(text) // 2], 200, mimetype="application/json")
    return response


def reply(body: Body, code: int) -> Response:
    return Response(json.dumps(body), code, mimetype="application/json")


def bearer() -> str:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def mode_of(simulator: Simulator, version: Version, api_key: str) -> Mode | None:
    """The mode of a key that this version accepts; None for any other key."""
    if simulator.api_keys and api_key not in simulator.api_keys:
        return None
    ignored = simulator.settings.switches_v2.key_platform == "ignored"
    for platform, key in KEYS.items():
        shape = key.fullmatch(api_key)
        if shape and (ignored or platform == version):
            return "test" if shape["test"] else "live"
    return None


def read_json(raw: bytes) -> Body:
    """The fields of a JSON object; anything else has none, as in PHP."""
    try:
        parsed = json.loads(raw, parse_constant=refuse_constant)
        # PHP rejects half of a surrogate pair, and it cannot be encoded again.
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def refuse_constant(name: str) -> None:
    """Reject NaN and Infinity, which Python accepts and JSON does not have."""
    raise ValueError(name)


def text_or_none(value: object) -> str | None:
    return None if value is None else str(value)


def url_is_good(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"https?://[^\s/?#]+\S*", value) is not None


def whole(text: str | None, smallest: int, largest: int) -> int | None:
    """A number from the query; None when it is absent, unreadable or too small or too large."""
    if text is None or not re.fullmatch(r"[0-9]{1,10}", text):
        return None
    return int(text) if smallest <= int(text) <= largest else None
