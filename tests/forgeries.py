"""Forged and hostile requests. The function tests send all of them, the journeys a few over HTTP.

A forgery has no valid signature. A hostile webhook has one, as if the secret had been stolen.
"""

import base64
import gzip
import hashlib
import hmac
import json
import re
from collections.abc import Callable
from typing import NamedTuple

from payments.chapa.signature import sign
from payments.domain.states import PaymentStatus

CUSTOMER = {
    "first_name": "Derartu",
    "last_name": "Tulu-Bekoji",
    "email": "derartu@running.et",
    "phone_number": "0911223344",
}
"""The customer in every genuine webhook."""

PRIVATE = (*CUSTOMER.values(), "911223344", "charge.derartu")
"""Must be in no log line."""

TEN_MEGABYTES = 10 * 1024 * 1024

SIGNATURE, CONSTANT = "x-chapa-signature", "chapa-signature"
"""The second header is the one in which Chapa's standard webhooks carry HMAC(secret, secret)."""


class Sent(NamedTuple):
    """A POST request. A header may come more than once."""

    body: bytes
    headers: tuple[tuple[str, str | bytes], ...]


def notification(tx_ref: str, event: str = "charge.success", **more: object) -> bytes:
    """A webhook body with the fields that Chapa sends."""
    return json.dumps(
        {"event": event, "tx_ref": tx_ref, "status": "success", "mode": "test", **CUSTOMER, **more},
        indent=1,
        ensure_ascii=False,
    ).encode()


def notification_v2(tx_ref: str, event: str = "payment.success", **more: object) -> bytes:
    """The same of v2."""
    names = {"merchant_reference": tx_ref, "chapa_reference": "TESTI89728391f"}
    facts = {"webhook_type": "payment", "event": event, "status": "success", "mode": "test"}
    return json.dumps(
        {**facts, **names, "customer": CUSTOMER, **more}, indent=1, ensure_ascii=False
    ).encode()


def forgeries(
    tx_ref: str,
    secret: str,
    api_key: str,
    write: Callable[[str], bytes] = notification,
) -> dict[str, Sent]:
    """Webhooks without a valid signature, about a payment that Chapa would confirm."""
    body = write(tx_ref)
    good = sign(body, secret)
    constant = sign(secret.encode(), secret)
    first_letter = re.search("[a-f]", good)
    assert first_letter
    claims: dict[str, str | bytes] = {
        "an empty one": "",
        "the constant renamed": constant,
        "the API key's": sign(body, api_key),
        "another key's": sign(body, "another"),
        "an empty key's": sign(body, ""),
        "an upper-case secret's": sign(body, secret.upper()),
        "the secret's hash's": sign(body, hashlib.sha256(secret.encode()).hexdigest()),
        "body and key swapped": hmac.new(body, secret.encode(), hashlib.sha256).hexdigest(),
        "a hash without a key": hashlib.sha256(body).hexdigest(),
        "a hash of secret and body": hashlib.sha256(secret.encode() + body).hexdigest(),
        "SHA-1": hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
        "SHA-512": hmac.new(secret.encode(), body, hashlib.sha512).hexdigest(),
        "SHA-512 cut to fit": hmac.new(secret.encode(), body, hashlib.sha512).hexdigest()[:64],
        "upper case": good.upper(),
        "one letter in upper case": good.replace(first_letter[0], first_letter[0].upper(), 1),
        "cut short": good[:-1],
        "half": good[:32],
        "one letter more": good + "0",
        "without its first letter": good[1:],
        "turned round": good[::-1],
        "zeros": "0" * 64,
        "not hexadecimal": "z" * 64,
        "with another scheme": f"sha1={good}",
        "in quotation marks": f'"{good}"',
        "twice in one": good + good,
        "a list": f"{good},{good}",
        "base64 for hexadecimal": base64.b64encode(bytes.fromhex(good)).decode(),
        "in base64": base64.b64encode(good.encode()).decode(),
        "Latin-1": b"\xe9" * 64,
        "unicode": "አ".encode() * 64,
        "unicode of the same length": "አ".encode() * 21 + b"0",
        "digits of another script": good.encode()[:-3] + "\u0661".encode(),
        "escaped": "".join(f"%{ord(letter):02x}" for letter in good),
        "a pattern": ".*",
        "true": "true",
        "null": "null",
        "very long": "a" * 8_000,
        "a payload's": sign(notification(tx_ref, "charge.refunded"), secret),
        "another payment's": sign(notification(f"{tx_ref[:-1]}a"), secret),
        "of this body in base64": sign(base64.b64encode(body), secret),
        "of the body re-serialised": sign(json.dumps(json.loads(body)).encode(), secret),
        "of the body without its blanks": sign(
            json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode(), secret
        ),
        "of the body in UTF-16": sign(body.decode().encode("utf-16"), secret),
        "of the body compressed": sign(gzip.compress(body, mtime=0), secret),
        "of nothing": sign(b"", secret),
    }
    bodies = {
        "compact": json.dumps(json.loads(body), separators=(",", ":")).encode(),
        "re-serialised": json.dumps(json.loads(body)).encode(),
        "with its keys sorted": json.dumps(json.loads(body), indent=1, sort_keys=True).encode(),
        "with slashes escaped": body.replace(b"/", rb"\/") + b" ",
        "with a line break at its end": body + b"\n",
        "with Windows' line breaks": body.replace(b"\n", b"\r\n"),
        "with a byte order mark": b"\xef\xbb\xbf" + body,
        "with a null byte at its end": body + b"\0",
        "with another amount": body.replace(b"}", b', "amount": "1.00"}'),
        "twice": body + body,
        "in UTF-16": body.decode().encode("utf-16"),
        "in base64": base64.b64encode(body),
        "compressed": gzip.compress(body, mtime=0),
        "not there": b"",
    }
    headers: dict[str, tuple[tuple[str, str | bytes], ...]] = {
        "no signature": (),
        "the constant": ((CONSTANT, constant),),
        "the constant under both names": ((CONSTANT, constant), (SIGNATURE, constant)),
        "under a name that is not Chapa's": (("signature", good),),
        "under a name with an underscore": (("x_chapa_signature", good),),
        "as a token": (("authorization", f"Bearer {good}"),),
        "as a cookie": (("cookie", f"{SIGNATURE}={good}"),),
        "forged under both names": ((CONSTANT, "0" * 64), (SIGNATURE, "1" * 64)),
        "halved over both names": ((CONSTANT, good[:32]), (SIGNATURE, good[32:])),
        "halved over two headers": ((SIGNATURE, good[:32]), (SIGNATURE, good[32:])),
        "a genuine one and a forged one": ((SIGNATURE, good), (SIGNATURE, "0" * 64)),
        "a forged one and a genuine one": ((SIGNATURE, "0" * 64), (SIGNATURE, good)),
        "a genuine one twice": ((SIGNATURE, good), (SIGNATURE, good)),
        "forged in two headers": ((SIGNATURE, "0" * 64), (SIGNATURE, constant)),
        "a transfer encoding of its own": (
            (SIGNATURE, sign(body + b" ", secret)),
            ("content-transfer-encoding", "base64"),
        ),
    }
    types = (
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "text/plain; charset=utf-7",
        "",
        "x",
    )
    bombs = {
        "a nested bomb": b"[" * 100_000,
        "a bomb of objects": b'{"a":' * 50_000,
        "half a document": body[: len(body) // 2],
        "bytes that are no text": bytes(range(256)) * 16,
        # API Gateway of AWS refuses so much itself; the local one passes it on.
        "ten megabytes": b"x" * TEN_MEGABYTES,
    }
    genuine = ((SIGNATURE, good), ("content-type", "application/json"))
    return {
        **{name: Sent(body, ((SIGNATURE, claim),)) for name, claim in claims.items()},
        **{f"the body {name}": Sent(other, genuine) for name, other in bodies.items()},
        **{name: Sent(body, some) for name, some in headers.items()},
        **{
            f"as {kind or 'an empty type'}": Sent(
                body, ((SIGNATURE, constant), ("content-type", kind))
            )
            for kind in types
        },
        **{name: Sent(bomb, ((SIGNATURE, "0" * 64),)) for name, bomb in bombs.items()},
    }


def unreadable(good: bytes) -> dict[str, bytes]:
    """Bodies that are not the JSON object that a route wants; `good` is one that it accepts."""
    text = good.decode()
    inside = good.removesuffix(b"}")
    bomb = b"[" * 30_000 + b"]" * 30_000
    return {
        "nothing": b"",
        "a blank": b" ",
        "half of it": good[: len(good) // 2],
        "an array": b"[" + good + b"]",
        "an empty array": b"[]",
        "null": b"null",
        "a number": b"1",
        "a string": json.dumps(text).encode(),
        "an empty object": b"{}",
        "keys of another case": re.sub(rb'"\w+":', lambda key: key[0].upper(), good),
        "a nested bomb": bomb,
        "a bomb of objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        "a bomb that does not end": b"[" * 60_000,
        "a bomb of objects that does not end": b'{"event": "charge.success", "tx_ref": ' * 1_000,
        "a bomb in it": inside + b', "x": ' + bomb + b"}",
        "NaN": b"NaN",
        "5,000 digits": inside + b', "x": ' + b"9" * 5_000 + b"}",
        "60,000 digits": inside + b', "x": ' + b"9" * 60_000 + b"}",
        "a number that begins with zero": inside + b', "x": 01}',
        "a byte that is no text": inside + b', "x": "\xff"}',
        "a key that is no text": inside + b', "\xff": 1}',
        "a slash in too many bytes": inside + b', "x": "\xc0\xaf"}',
        "half a surrogate pair": inside + rb', "x": "\ud800"}',
        "half a surrogate pair in bytes": inside + b', "x": "\xed\xa0\x80"}',
        "half a surrogate pair for a key": inside + rb', "\ud800": 1}',
        "a line break in a string": inside + b', "x": "\n"}',
        "a null byte": good + b"\0",
        "a null byte in a string": inside + b', "x": "\0"}',
        "a byte order mark": b"\xef\xbb\xbf" + good,
        "UTF-16": text.encode("utf-16"),
        "UTF-32": text.encode("utf-32"),
        "UTF-7": text.encode("utf-7").replace(b'"', b"+ACI-"),
        "two documents": good + good,
        "something behind it": good + b" true",
        "a comma too many": inside + b",}",
        "a comment": inside + b", /* */}",
        "a comment behind it": good + b"/* */",
        "single quotation marks": good.replace(b'"', b"'"),
        "a form": b"order_id=x&sku=x&quantity=1&event=charge.success&tx_ref=x",
        "a form of several parts": (
            b'--x\r\nContent-Disposition: form-data; name="order_id"\r\n\r\nx\r\n--x--\r\n'
        ),
        "XML": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        "base64": base64.b64encode(good),
        "base64 of base64": base64.b64encode(base64.b64encode(good)),
        "compressed": gzip.compress(good, mtime=0),
        "gzip": gzip.compress(good, compresslevel=0, mtime=0),  # holds the JSON in plain text
        "a gzip bomb": gzip.compress(b" " * 1_000_000, mtime=0),
        "more than 64 KB": good.ljust(65_537),
        "one megabyte": good.ljust(1_000_000),
        "one megabyte of nothing": b" " * 1_000_000,
        "ten megabytes": good.ljust(TEN_MEGABYTES),
    }


def additions(good: bytes) -> dict[str, bytes]:
    """JSON with strange fields beside the known ones: ignored in webhooks, refused elsewhere."""
    inside = good.removesuffix(b"}")
    return {
        "as deep as is read": inside + b', "x": ' + b"[" * 100 + b"]" * 100 + b"}",
        "NaN in it": inside + b', "x": NaN}',
        "infinity in it": inside + b', "x": -Infinity}',
        "an exponent without end": inside + b', "x": 1e999999999}',
        "4,000 digits": inside + b', "x": ' + b"9" * 4_000 + b"}",
        "60,000 digits behind a point": inside + b', "x": 0.' + b"9" * 60_000 + b"}",
        "keys of other objects": (
            inside + b', "__proto__": {"paid": true, "amount": "0.01"}, "constructor": {},'
            b' "__class__": "Payment", "model_config": {"strict": false}}'
        ),
        "6,000 keys": inside + b"".join(b',"%d":1' % n for n in range(6_000)) + b"}",
        "a key of 60,000 letters": inside + b', "' + b"x" * 60_000 + b'": 1}',
        "a null character for a key": inside + rb', "\u0000": 1}',
    }


def no_requests(good: bytes) -> dict[str, bytes]:
    """Bodies that POST /orders and POST /payments refuse."""
    return unreadable(good) | additions(good)


class Hostile(NamedTuple):
    body: bytes
    expected: str
    """The outcome, or the code of the problem."""


def about(tx_ref: bytes, event: bytes = b'"charge.success"') -> bytes:
    """A webhook body; both arguments are JSON."""
    return b'{"event": ' + event + b', "tx_ref": ' + tx_ref + b"}"


READ_BY_JSON = (
    "half a surrogate pair",
    "half a surrogate pair in bytes",
    "half a surrogate pair for a key",
    "a byte order mark",
    "UTF-16",
    "UTF-32",
)
"""Bodies that our own routes refuse and a webhook may have: no field but the reference counts."""


def hostile(tx_ref: str) -> dict[str, Hostile]:
    """Signed webhooks about a payment that Chapa does not know to be paid."""
    ours = tx_ref.encode()
    own = b'"' + ours + b'"'
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in tx_ref[:16]).encode()
    bodies = unreadable(about(own))
    ignored = {
        **{name: bodies.pop(name) for name in ("an empty object", "keys of another case")},
        "NaN for a tx_ref": about(b"NaN"),
        "a tx_ref of half a surrogate pair": about(rb'"\ud800"'),
        "no tx_ref": b'{"event": "charge.success"}',
        "a tx_ref that is null": about(b"null"),
        "a tx_ref that is a number": about(b"1"),
        "a tx_ref that is true": about(b"true"),
        "a tx_ref that is a list": about(b"[" + own + b"]"),
        "a tx_ref that is an object": about(b'{"S": ' + own + b"}"),
        "a tx_ref of 101 letters": about(b'"' + b"a" * 101 + b'"'),
        "the tx_ref twice, the other way round": about(own + b', "tx_ref": "another"'),
        "a null character": about(b'"' + ours + rb'\u0000"'),
        "an empty tx_ref": about(b'""'),
        "a path": about(b'"../../' + ours + b'"'),
        "a key of the table": about(b'"ORDER#x"'),
        "a blank behind it": about(b'"' + ours + b' "'),
        "a line break behind it": about(b'"' + ours + rb'\n"'),
        "upper case": about(own.upper()),
        "an emoji": about('"💥"'.encode()),
        "a customer in the tx_ref": about(b'"of derartu@running.et 0911223344"'),
        "a key in the tx_ref": about(b'"CHASECK_TEST-0123456789abcdefghij"'),
        "a refund without a tx_ref": b'{"event": "refund.success"}',
        "a reference too deep": b'{"data": {"data": {"tx_ref": ' + own + b"}}}",
        "a reference in a list": b'{"data": [{"tx_ref": ' + own + b"}]}",
    }
    read_all_the_same = {name: bodies.pop(name) for name in READ_BY_JSON}
    refused = {
        **bodies,
        "a bomb for a tx_ref": about(b"[" * 30_000 + b"]" * 30_000),
        "60,000 digits for a tx_ref": about(b"9" * 60_000),
        "a tx_ref that is no text": about(b'"\xff"'),
    }
    deferred = {
        **read_all_the_same,
        **additions(about(own)),
        "NaN for an event": about(own, b"NaN"),
        "an event that is a number": about(own, b"1"),
        "an event that is true": about(own, b"true"),
        "an event that is null": about(own, b"null"),
        "an event that is a list": about(own, b'["charge.success"]'),
        "an event of 101 letters": about(own, b'"charge.' + b"x" * 94 + b'"'),
        "the event twice": about(own, b'"charge.success", "event": "payout.success"'),
        "64 KB": about(own).ljust(65_536),
        "the tx_ref twice": about(b'"another", "tx_ref": ' + own),
        "our tx_ref, escaped": about(b'"' + escaped + ours[16:] + b'"'),
        "a customer in the event": about(own, b'"charge.derartu@running.et.0911223344"'),
        # What Chapa does not confirm.
        **{
            f"a payment that is {status.value}, it says": notification(
                tx_ref, f"charge.{status.value}", status=status.value
            )
            for status in PaymentStatus
        },
        **{
            f"a payment of v2 that is {status.value}, it says": notification_v2(
                tx_ref, f"payment.{status.value}", status=status.value
            )
            for status in PaymentStatus
        },
        "a refund": notification(tx_ref, "charge.refunded", amount="900.00"),
        "of a live key": notification(tx_ref, mode="live"),
    }
    return {
        name: Hostile(body, expected)
        for expected, bodies in (
            ("invalid_request", refused),
            ("ignored", ignored),
            ("deferred", deferred),
        )
        for name, body in bodies.items()
    }


HEADERS_OF_BODIES: dict[str, dict[str, str]] = {
    "JSON": {"content-type": "application/json"},
    "no type": {},
    "UTF-16": {"content-type": "application/json; charset=utf-16"},
    "a form": {"content-type": "application/x-www-form-urlencoded"},
    "a form of several parts": {"content-type": "multipart/form-data; boundary=x"},
    "compressed": {"content-type": "application/json", "content-encoding": "gzip"},
    "a malformed type": {"content-type": '💥; charset="'.encode().decode("latin-1")},
}
"""None of them changes how a body is read: as JSON in UTF-8."""

SEGMENTS = {
    "a null": "%00",
    "the folder above": "%2e%2e",
    "the folder above, twice": "%252e%252e",
    "a slash": "a%2fb",
    "a slash in too many bytes": "%c0%af",
    "bytes that are no text": "%ff%fe",
    "half a surrogate pair": "%ed%a0%80",
    "half an escape": "%",
    "a malformed escape": "%zz",
    "a line break": "%0d%0aX-Evil:%201",
    "a blank": "%20",
    "an emoji": "%F0%9F%92%A5",
    "from right to left": "%E2%80%AEabc",
    "a key of the table": "ORDER%23x",
    "a condition": "'%20OR%201=1--",
    "a template": "%7B%7B7*7%7D%7D",
    "a variable": "$%7BAWS::AccountId%7D",
    "digits of another script": "%D9%A1" * 20,
    "upper case": "A" * 20,
    "an id and a line break": "a" * 20 + "%0a",
    "very long": "a" * 7_000,
}
"""For the place of an id in a path, as they travel."""

QUERIES = {
    "twice": "refresh=true&refresh=false",
    "empty": "refresh=",
    "without a value": "refresh",
    "a null": "refresh=%00",
    "upper case": "refresh=TRUE",
    "a list": "refresh[]=true",
    "bytes that are no text": "%ff=%fe&refresh=%ff",
    "half a surrogate pair": "refresh=%ed%a0%80",
    "half an escape": "refresh=%&%=%zz",
    "a line break": "refresh=true%0d%0aX-Evil:%201",
    "nothing but signs": "&&&===&?&",
    "a thousand of them": "&".join(f"a{n}=b" for n in range(900)),
    "very long": "refresh=" + "a" * 7_000,
    "another user": "user_id=sara&sub=sara",
}
"""Query strings, as they travel."""

KEYS: dict[str, bytes] = {
    "a quotation mark": b"'\"",
    "commas": b"a,b",
    "a path": b"../../x",
    "a key of the table": b"ORDER#x",
    "a null, escaped": b"\\u0000",
    "Latin-1": b"\xe9",
    "UTF-8": "አበበ".encode(),
    "bytes that are no text": b"\xff\xfe",
    "an emoji": "💥".encode(),
    "JSON": b'["abebe","x"]',
    "blanks": b"a  b",
    "200 letters": b"k" * 200,
    "201 letters": b"k" * 201,
    "very long": b"k" * 7_000,
    "nothing": b"",
}
"""Values of the header Idempotency-Key."""
