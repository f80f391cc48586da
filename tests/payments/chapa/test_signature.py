"""The expected signatures were computed with `openssl dgst -sha256 -hmac`, not with this code."""

import json

import pytest

from payments.chapa.signature import HEADERS, is_signed, sign, verify

SECRET = "the-webhook-secret"

AMHARIC = '{"event":"charge.success","first_name":"አበበ","last_name":"ቢቂላ"}'.encode()
COMPACT = b'{"event":"charge.success","amount":"400.00","currency":"ETB"}'
PHP = (
    rb'{"event":"charge.failed\/cancelled","first_name":"\u12a0\u1260\u1260",'
    rb'"logo":"https:\/\/shop.example\/logo.png"}'
)
SPACED = b'{ "event" : "charge.success" }\n'
SIGNED = {
    AMHARIC: "81b0a79ab779f19648698fe4c7a93828aa94b4c97322d2fbd9294e2a29aabe5f",
    COMPACT: "583b18ee5079d3d929fca538ecccfce075c9eee6432220aa8df64255921b8716",
    PHP: "1a7f2d792048b75fdcc8d22f23ca33d2104f15e336cc65b437c898d2f21ba33a",
    SPACED: "c90259a4867387a3bd6d9e8b476b63f033f3ffda3387dab58bf07cd107d0f61f",
    b"": "a3112503244eb57767d690f81f907fb474bc211f106ec6d91bdc077a5624835a",
}
CONSTANT = "27d98d5b06705c8046790e96ebdbd744de71d30769096f89d857acbfb8f1fbc4"
"""HMAC(secret, secret), which Chapa sends as `chapa-signature`."""

BODIES = pytest.mark.parametrize(
    "body", SIGNED, ids=["Amharic", "compact", "escaped as PHP does", "spaced", "empty"]
)
NAMES = pytest.mark.parametrize("name", HEADERS)


@BODIES
@NAMES
def test_signature_is_what_openssl_computes_and_accepted_in_either_header(
    name: str, body: bytes
) -> None:
    assert sign(body, SECRET) == SIGNED[body]
    assert verify(body, {name: SIGNED[body]}, [SECRET])


@pytest.mark.parametrize("body", [AMHARIC, PHP, SPACED])
def test_signature_is_of_the_exact_bytes(body: bytes) -> None:
    again = json.dumps(json.loads(body)).encode()

    assert json.loads(again) == json.loads(body)
    for changed in (again, body + b" "):
        assert not verify(changed, {HEADERS[0]: SIGNED[body]}, [SECRET])


def test_constant_is_what_chapa_documents() -> None:
    assert sign(SECRET.encode(), SECRET) == CONSTANT


GOOD = SIGNED[COMPACT]
SIGNATURE = HEADERS[0]


@pytest.mark.parametrize(
    ("headers", "secrets"),
    [
        ({SIGNATURE: GOOD}, [SECRET, "previous"]),
        ({SIGNATURE: GOOD}, ["current", SECRET]),
        ({SIGNATURE: GOOD}, ["", SECRET]),
        ({SIGNATURE: f"sha256={GOOD}"}, [SECRET]),
        # That is how Chapa sends its standard webhooks.
        ({"x-chapa-signature": GOOD, "chapa-signature": CONSTANT}, [SECRET]),
    ],
)
def test_one_genuine_signature_under_one_of_the_secrets_is_enough(
    headers: dict[str, str], secrets: list[str]
) -> None:
    assert verify(COMPACT, headers, secrets)


@pytest.mark.parametrize(
    ("headers", "secrets"),
    [
        *((dict.fromkeys(n, CONSTANT), [SECRET]) for n in (HEADERS[:1], HEADERS[1:], HEADERS)),
        ({SIGNATURE: sign(COMPACT, "another")}, [SECRET, "previous"]),
        *(({SIGNATURE: sign(COMPACT, "")}, s) for s in ([], [""], ["", ""], [SECRET, ""])),
        *((headers, [SECRET]) for headers in ({}, {"signature": GOOD}, {"x-signature": "x"})),
    ],
)
def test_constant_other_secret_empty_secret_and_other_header_prove_nothing(
    headers: dict[str, str], secrets: list[str]
) -> None:
    assert not verify(COMPACT, headers, secrets)


MALFORMED = {
    "empty": "",
    "truncated": GOOD[:-1],
    "half": GOOD[:32],
    "over-long": GOOD + "0",
    "far too long": GOOD * 10_000,
    "upper case": GOOD.upper(),
    "padded": f" {GOOD[:-1]}",
    "with another scheme": f"sha1={GOOD}",
    "with a scheme twice": f"sha256=sha256={GOOD}",
    "twice, joined with a comma": f"{GOOD},{GOOD}",
    "twice, joined with comma and space": f"{GOOD}, {GOOD}",
    "other digits": "0" * 64,
    "not hexadecimal": "z" * 64,
    "Amharic": "አ" * 64,
    "Amharic of the same bytes": "አ" * 21 + "0",
    "Latin-1": "é" * 32,
    "an escaped byte": "\udcff" * 64,
    "an escaped byte of the same bytes": "\udcff" * 21 + "0",
    "a lone surrogate": "\ud800" * 64,
    "a lone surrogate of the same bytes": "\ud800" * 21 + "0",
    "a null character": GOOD[:-1] + "\0",
}


@NAMES
@pytest.mark.parametrize("malformed", MALFORMED.values(), ids=MALFORMED)
def test_malformed_signature_is_refused_without_an_error(name: str, malformed: str) -> None:
    assert not verify(COMPACT, {name: malformed}, [SECRET])


@pytest.mark.parametrize(
    ("headers", "signed"),
    [
        *(({name: claim}, True) for name in HEADERS for claim in (GOOD, CONSTANT, "forged", " ")),
        *(({name: ""}, False) for name in HEADERS),
        ({}, False),
        ({"signature": GOOD, "authorization": GOOD}, False),
    ],
)
def test_request_is_signed_when_a_header_of_chapa_claims_anything(
    headers: dict[str, str], signed: bool
) -> None:
    assert is_signed(headers) is signed
