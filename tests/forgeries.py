"""What a hostile internet sends to the webhook: one corpus, for the function and for the stack.

Forgeries are signed by nobody who knows the secret, so whatever they hold is never looked at.
Hostile bodies are signed as Chapa signs, as if the secret had been stolen or Chapa had gone mad:
they may be refused or taken in, but they make nothing true that Chapa does not confirm.
"""

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import NamedTuple

from payments.signature import sign
from payments.states import PaymentStatus

CUSTOMER = {
    "first_name": "Derartu",
    "last_name": "Tulu-Bekoji",
    "email": "derartu@running.et",
    "phone_number": "0911223344",
}
"""In every genuine body, and found in no log line."""

PRIVATE = (*CUSTOMER.values(), "911223344", "charge.derartu")

TEN_MEGABYTES = 10 * 1024 * 1024


class Sent(NamedTuple):
    """A request to the webhook. A header may come more than once."""

    body: bytes
    headers: tuple[tuple[str, str | bytes], ...]


def notification(tx_ref: str, event: str = "charge.success", **more: object) -> bytes:
    """A body as Chapa's are, with all that it says of a customer."""
    return json.dumps(
        {"event": event, "tx_ref": tx_ref, "status": "success", "mode": "test", **CUSTOMER, **more},
        indent=1,
        ensure_ascii=False,
    ).encode()


def forgeries(tx_ref: str, secret: str, api_key: str) -> dict[str, Sent]:
    """What is not signed, about a payment that can be paid. All is answered by 401."""
    body = notification(tx_ref)
    good = sign(body, secret)
    constant = sign(secret.encode(), secret)
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
        "one letter in upper case": _one_upper(good),
        "cut short": good[:-1],
        "half": good[:32],
        "one letter more": good + "0",
        "without its first letter": good[1:],
        "turned round": good[::-1],
        "zeros": "0" * 64,
        "not hexadecimal": "z" * 64,
        "with a scheme": f"sha256={good}",
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
    found = {name: Sent(body, (("x-chapa-signature", claim),)) for name, claim in claims.items()}

    other = json.loads(body)
    bodies = {
        "compact": json.dumps(other, separators=(",", ":")).encode(),
        "re-serialised": json.dumps(other).encode(),
        "with its keys sorted": json.dumps(other, indent=1, sort_keys=True).encode(),
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
    genuine = (("x-chapa-signature", good), ("content-type", "application/json"))
    found |= {f"the body {how}": Sent(what, genuine) for how, what in bodies.items()}

    elsewhere: dict[str, tuple[tuple[str, str | bytes], ...]] = {
        "no signature": (),
        "the constant": (("chapa-signature", constant),),
        "the constant under both names": (
            ("chapa-signature", constant),
            ("x-chapa-signature", constant),
        ),
        "under a name that is not Chapa's": (("signature", good),),
        "under a name with an underscore": (("x_chapa_signature", good),),
        "as a token": (("authorization", f"Bearer {good}"),),
        "as a cookie": (("cookie", f"x-chapa-signature={good}"),),
        "forged under both names": (("chapa-signature", "0" * 64), ("x-chapa-signature", "1" * 64)),
        "halved over both names": (
            ("chapa-signature", good[:32]),
            ("x-chapa-signature", good[32:]),
        ),
        "halved over two headers": (
            ("x-chapa-signature", good[:32]),
            ("x-chapa-signature", good[32:]),
        ),
        "a genuine one and a forged one": (
            ("x-chapa-signature", good),
            ("x-chapa-signature", "0" * 64),
        ),
        "a forged one and a genuine one": (
            ("x-chapa-signature", "0" * 64),
            ("x-chapa-signature", good),
        ),
        "a genuine one twice": (("x-chapa-signature", good), ("x-chapa-signature", good)),
        "forged in two headers": (
            ("x-chapa-signature", "0" * 64),
            ("x-chapa-signature", constant),
        ),
        "a transfer encoding of its own": (
            ("x-chapa-signature", sign(base64.b64decode(base64.b64encode(body)) + b" ", secret)),
            ("content-transfer-encoding", "base64"),
        ),
    }
    found |= {name: Sent(body, headers) for name, headers in elsewhere.items()}

    # Whatever the type and the size, it is not looked at.
    types = (
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "text/plain; charset=utf-7",
        "",
        "x",
    )
    found |= {
        f"as {kind or 'an empty type'}": Sent(
            body, (("x-chapa-signature", constant), ("content-type", kind))
        )
        for kind in types
    }
    bombs = {
        "a nested bomb": b"[" * 100_000,
        "a bomb of objects": b'{"a":' * 50_000,
        "half a document": body[: len(body) // 2],
        "bytes that are no text": bytes(range(256)) * 16,
        # On AWS API Gateway refuses so much itself; the local one hands it on.
        "ten megabytes": b"x" * TEN_MEGABYTES,
    }
    unsigned = (("x-chapa-signature", "0" * 64),)
    return found | {name: Sent(what, unsigned) for name, what in bombs.items()}


def _one_upper(good: str) -> str:
    letter = next(letter for letter in good if letter.isalpha())
    return good.replace(letter, letter.upper(), 1)


class Hostile(NamedTuple):
    body: bytes
    told: str
    """The outcome, or the code of the problem."""


REFUSED, IGNORED, TAKEN = "invalid_request", "ignored", "deferred"


def hostile(tx_ref: str) -> dict[str, Hostile]:
    """What is signed, about a payment that Chapa does not know to be paid."""
    bodies: Mapping[str, tuple[bytes, str]] = {
        "nothing": (b"", REFUSED),
        "a blank": (b" ", REFUSED),
        "half of it": (b'{"event": "charge.suc', REFUSED),
        "an array": (b"[]", REFUSED),
        "null": (b"null", REFUSED),
        "a number": (b"1", REFUSED),
        "a string": (b'"charge.success"', REFUSED),
        "an empty object": (b"{}", REFUSED),
        "an object in an array": (b'[{"event": "charge.success", "tx_ref": "%r"}]', REFUSED),
        # Depth.
        "a nested bomb": (b"[" * 30_000 + b"]" * 30_000, REFUSED),
        "a bomb of objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, REFUSED),
        "a bomb in a field that nobody reads": (
            b'{"event": "charge.success", "tx_ref": "%r", "x": ' + b"[" * 30_000 + b"]" * 30_000
            + b"}",
            REFUSED,
        ),
        "a bomb for a tx_ref": (
            b'{"event": "charge.success", "tx_ref": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
            REFUSED,
        ),
        "a bomb that does not end": (b'{"event": "charge.success", "tx_ref": ' * 1_000, REFUSED),
        "as deep as is read": (
            b'{"event": "charge.success", "tx_ref": "%r", "x": ' + b"[" * 100 + b"]" * 100 + b"}",
            TAKEN,
        ),
        # Numbers.
        "NaN for a tx_ref": (b'{"event": "charge.success", "tx_ref": NaN}', REFUSED),
        "NaN for an event": (b'{"event": NaN, "tx_ref": "%r"}', REFUSED),
        "NaN where nobody looks": (
            b'{"event": "charge.success", "tx_ref": "%r", "amount": NaN}', TAKEN
        ),
        "infinity where nobody looks": (
            b'{"event": "charge.success", "tx_ref": "%r", "amount": -Infinity}', TAKEN
        ),
        "an exponent without end": (
            b'{"event": "charge.success", "tx_ref": "%r", "amount": 1e999999999}', TAKEN
        ),
        "4,000 digits": (
            b'{"event": "charge.success", "tx_ref": "%r", "amount": ' + b"9" * 4_000 + b"}", TAKEN
        ),
        "5,000 digits": (
            b'{"event": "charge.success", "tx_ref": "%r", "amount": ' + b"9" * 5_000 + b"}", REFUSED
        ),
        "60,000 digits": (
            b'{"event": "charge.success", "tx_ref": "%r", "amount": ' + b"9" * 60_000 + b"}",
            REFUSED,
        ),
        "60,000 digits for a tx_ref": (
            b'{"event": "charge.success", "tx_ref": ' + b"9" * 60_000 + b"}", REFUSED
        ),
        "60,000 digits behind a point": (
            b'{"event": "charge.success", "tx_ref": "%r", "amount": 0.' + b"9" * 60_000 + b"}",
            TAKEN,
        ),
        "a number that begins with zero": (
            b'{"event": "charge.success", "tx_ref": "%r", "amount": 01}', REFUSED
        ),
        # Keys.
        "the event twice": (
            b'{"event": "charge.success", "event": "payout.success", "tx_ref": "%r"}', IGNORED
        ),
        "the event twice, of two types": (
            b'{"event": "charge.success", "event": ["charge.success"], "tx_ref": "%r"}', REFUSED
        ),
        "the tx_ref twice": (
            b'{"event": "charge.success", "tx_ref": "another", "tx_ref": "%r"}', TAKEN
        ),
        "the tx_ref twice, the other way round": (
            b'{"event": "charge.success", "tx_ref": "%r", "tx_ref": "another"}', IGNORED
        ),
        "keys of another case": (b'{"EVENT": "charge.success", "TX_REF": "%r"}', REFUSED),
        "keys of other objects": (
            b'{"event": "charge.success", "tx_ref": "%r", "__proto__": {"paid": true},'
            b' "constructor": {}, "__class__": "Payment", "model_config": {"strict": false}}',
            TAKEN,
        ),
        "6,000 keys": (
            b'{"event": "charge.success", "tx_ref": "%r"'
            + b"".join(b',"%d":1' % n for n in range(6_000)) + b"}",
            TAKEN,
        ),
        # Text.
        "a byte that is no text": (b'{"event": "charge.success", "tx_ref": "\xff"}', REFUSED),
        "a byte that is no text where nobody looks": (
            b'{"event": "charge.success", "tx_ref": "%r", "x": "\xff"}', REFUSED
        ),
        "a key that is no text": (
            b'{"event": "charge.success", "tx_ref": "%r", "\xff": 1}', REFUSED
        ),
        "a slash in too many bytes": (
            b'{"event": "charge.success", "tx_ref": "\xc0\xaf"}', REFUSED
        ),
        "half a surrogate pair": (rb'{"event": "charge.success", "tx_ref": "\ud800"}', REFUSED),
        "half a surrogate pair in bytes": (
            b'{"event": "charge.success", "tx_ref": "\xed\xa0\x80"}', REFUSED
        ),
        "a byte order mark": (
            b'\xef\xbb\xbf{"event": "charge.success", "tx_ref": "%r"}', REFUSED
        ),
        "UTF-16": ('{"event": "charge.success", "tx_ref": "x"}'.encode("utf-16"), REFUSED),
        "UTF-32": ('{"event": "charge.success", "tx_ref": "x"}'.encode("utf-32"), REFUSED),
        "a line break in a string": (
            b'{"event": "charge.success", "tx_ref": "%r", "x": "\n"}', REFUSED
        ),
        "a null character": (rb'{"event": "charge.success", "tx_ref": "%r\u0000"}', IGNORED),
        "a null byte": (b'{"event": "charge.success", "tx_ref": "%r\0"}', REFUSED),
        "our tx_ref, escaped": (
            b'{"event": "charge.success", "tx_ref": "'
            + "".join(f"\\u{ord(letter):04x}" for letter in tx_ref[:16]).encode()
            + tx_ref[16:].encode() + b'"}',
            TAKEN if len(tx_ref) > 16 else IGNORED,
        ),
        # What is nearly JSON.
        "two documents": (b'{"event": "charge.success", "tx_ref": "%r"}{}', REFUSED),
        "something behind it": (b'{"event": "charge.success", "tx_ref": "%r"} true', REFUSED),
        "a null byte behind it": (b'{"event": "charge.success", "tx_ref": "%r"}\0', REFUSED),
        "a comma too many": (b'{"event": "charge.success", "tx_ref": "%r",}', REFUSED),
        "a comment": (b'{"event": "charge.success", /* */ "tx_ref": "%r"}', REFUSED),
        "single quotation marks": (b"{'event': 'charge.success', 'tx_ref': '%r'}", REFUSED),
        "a form": (b"event=charge.success&tx_ref=%r", REFUSED),
        "XML": (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', REFUSED),
        "base64": (
            base64.b64encode(b'{"event": "charge.success", "tx_ref": "x"}'), REFUSED
        ),
        "base64 of base64": (
            base64.b64encode(base64.b64encode(b'{"event": "charge.success", "tx_ref": "x"}')),
            REFUSED,
        ),
        "gzip": (
            gzip.compress(b'{"event": "charge.success", "tx_ref": "%r"}', mtime=0), REFUSED
        ),
        "a gzip bomb": (gzip.compress(b" " * 1_000_000, mtime=0), REFUSED),
        # Size.
        "64 KB": (b'{"event": "charge.success", "tx_ref": "%r"}'.ljust(65_536 - 43), TAKEN),
        "more than 64 KB": (
            b'{"event": "charge.success", "tx_ref": "%r"}'.ljust(65_537), REFUSED
        ),
        "one megabyte of nothing": (b" " * 1_000_000, REFUSED),
        "ten megabytes": (
            b'{"event": "charge.success", "tx_ref": "%r"}'.ljust(TEN_MEGABYTES), REFUSED
        ),
        # Types.
        "an event that is a number": (b'{"event": 1, "tx_ref": "%r"}', REFUSED),
        "an event that is true": (b'{"event": true, "tx_ref": "%r"}', REFUSED),
        "an event that is null": (b'{"event": null, "tx_ref": "%r"}', REFUSED),
        "an event that is a list": (b'{"event": ["charge.success"], "tx_ref": "%r"}', REFUSED),
        "an event of 101 letters": (
            b'{"event": "charge.' + b"x" * 94 + b'", "tx_ref": "%r"}', REFUSED
        ),
        "no tx_ref": (b'{"event": "charge.success"}', REFUSED),
        "a tx_ref that is null": (b'{"event": "charge.success", "tx_ref": null}', REFUSED),
        "a tx_ref that is a number": (b'{"event": "charge.success", "tx_ref": 1}', REFUSED),
        "a tx_ref that is true": (b'{"event": "charge.success", "tx_ref": true}', REFUSED),
        "a tx_ref that is a list": (b'{"event": "charge.success", "tx_ref": ["%r"]}', REFUSED),
        "a tx_ref that is an object": (
            b'{"event": "charge.success", "tx_ref": {"S": "%r"}}', REFUSED
        ),
        "a tx_ref of 101 letters": (
            b'{"event": "charge.success", "tx_ref": "' + b"a" * 101 + b'"}', REFUSED
        ),
        # Somebody else's, or nobody's.
        "an empty tx_ref": (b'{"event": "charge.success", "tx_ref": ""}', IGNORED),
        "a path": (b'{"event": "charge.success", "tx_ref": "../../%r"}', IGNORED),
        "a key of the table": (b'{"event": "charge.success", "tx_ref": "ORDER#x"}', IGNORED),
        "a blank behind it": (b'{"event": "charge.success", "tx_ref": "%r "}', IGNORED),
        "a line break behind it": (rb'{"event": "charge.success", "tx_ref": "%r\n"}', IGNORED),
        "upper case": (
            b'{"event": "charge.success", "tx_ref": "' + tx_ref.upper().encode() + b'"}', IGNORED
        ),
        "an emoji": ('{"event": "charge.success", "tx_ref": "💥"}'.encode(), IGNORED),
        "a customer in the tx_ref": (
            b'{"event": "charge.success", "tx_ref": "of derartu@running.et 0911223344"}', IGNORED
        ),
        "a customer in the event": (
            b'{"event": "charge.derartu@running.et.0911223344", "tx_ref": "%r"}', TAKEN
        ),
        "a key in the tx_ref": (
            b'{"event": "charge.success", "tx_ref": "CHASECK_TEST-0123456789abcdefghij"}', IGNORED
        ),
        # What Chapa does not confirm.
        **{
            f"a payment that is {status}, it says": (
                notification(tx_ref, f"charge.{status}", status=str(status)), TAKEN
            )
            for status in PaymentStatus
        },
        "a refund": (notification(tx_ref, "charge.refunded", amount="900.00"), TAKEN),
        "a refund of nothing": (b'{"event": "refund.success"}', IGNORED),
        "of a live key": (notification(tx_ref, mode="live"), TAKEN),
    }  # fmt: skip
    return {
        name: Hostile(body.replace(b"%r", tx_ref.encode()), told)
        for name, (body, told) in bodies.items()
    }


def no_requests(good: bytes) -> dict[str, bytes]:
    """Bodies that no route takes, whatever it is for; `good` is one that it would take."""
    text = good.decode()
    inside = good.removesuffix(b"}")
    return {
        "nothing": b"",
        "a blank": b" ",
        "half of it": good[: len(good) // 2],
        "an array": b"[" + good + b"]",
        "null": b"null",
        "a number": b"1",
        "a string": json.dumps(text).encode(),
        "an empty object": b"{}",
        "a nested bomb": b"[" * 30_000 + b"]" * 30_000,
        "a bomb of objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        "a bomb that does not end": b"[" * 60_000,
        "a bomb in it": inside + b', "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        "NaN": b"NaN",
        "NaN in it": inside + b', "x": NaN}',
        "infinity in it": inside + b', "x": -Infinity}',
        "5,000 digits in it": inside + b', "x": ' + b"9" * 5_000 + b"}",
        "60,000 digits in it": inside + b', "x": ' + b"9" * 60_000 + b"}",
        "an exponent without end in it": inside + b', "x": 1e999999999}',
        "a field of another case": good.replace(b'"sku"', b'"SKU"').replace(b"order_", b"Order_"),
        "keys of other objects": inside + b', "__proto__": {"amount": "0.01"}, "__class__": "x"}',
        "6,000 keys": inside + b"".join(b',"%d":1' % n for n in range(6_000)) + b"}",
        "a key of 60,000 letters": inside + b', "' + b"x" * 60_000 + b'": 1}',
        "a byte that is no text": inside + b', "x": "\xff"}',
        "a slash in too many bytes": inside + b', "x": "\xc0\xaf"}',
        "half a surrogate pair": inside + rb', "x": "\ud800"}',
        "half a surrogate pair for a key": inside + rb', "\ud800": 1}',
        "a null byte": good + b"\0",
        "a null character for a key": inside + rb', "\u0000": 1}',
        "a byte order mark": b"\xef\xbb\xbf" + good,
        "UTF-16": text.encode("utf-16"),
        "UTF-32": text.encode("utf-32"),
        "UTF-7": text.encode("utf-7").replace(b'"', b"+ACI-"),
        "two documents": good + good,
        "a comma too many": inside + b",}",
        "a comment": good + b"/* */",
        "single quotation marks": good.replace(b'"', b"'"),
        "a form": b"order_id=x&sku=x&quantity=1",
        "a form of several parts": (
            b'--x\r\nContent-Disposition: form-data; name="order_id"\r\n\r\nx\r\n--x--\r\n'
        ),
        "XML": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
        "base64": base64.b64encode(good),
        "compressed": gzip.compress(good, mtime=0),
        "more than 64 KB": good.ljust(65_537),
        "one megabyte": good.ljust(1_000_000),
        "ten megabytes": good.ljust(TEN_MEGABYTES),
    }


HEADERS_OF_BODIES: dict[str, dict[str, str]] = {
    "JSON": {"content-type": "application/json"},
    "no type": {},
    "UTF-16": {"content-type": "application/json; charset=utf-16"},
    "a form": {"content-type": "application/x-www-form-urlencoded"},
    "a form of several parts": {"content-type": "multipart/form-data; boundary=x"},
    "compressed": {"content-type": "application/json", "content-encoding": "gzip"},
    "a type that is none": {"content-type": '💥; charset="'.encode().decode("latin-1")},
}
"""What may be said of a body. None of it is believed: a body is JSON in UTF-8, or nothing."""

SEGMENTS = {
    "a null": "%00",
    "the folder above": "%2e%2e",
    "the folder above, twice": "%252e%252e",
    "a slash": "a%2fb",
    "a slash in too many bytes": "%c0%af",
    "bytes that are no text": "%ff%fe",
    "half a surrogate pair": "%ed%a0%80",
    "half an escape": "%",
    "an escape that is none": "%zz",
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
"""What may stand in a path where an id belongs."""

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
"""What may stand behind a question mark."""

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
"""What may be sent for an Idempotency-Key."""
