"""The expected signatures were computed with `openssl dgst -sha256 -hmac`, not with this code."""

import json

import pytest

from payments.chapa.signature import HEADERS, sign, verify

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
def test_a_signature_is_what_openssl_computes(body: bytes) -> None:
    assert sign(body, SECRET) == SIGNED[body]


@BODIES
@NAMES
def test_an_hmac_of_the_payload_counts_under_either_name(name: str, body: bytes) -> None:
    assert verify(body, {name: SIGNED[body]}, [SECRET])


@pytest.mark.parametrize("body", [AMHARIC, PHP, SPACED])
def test_a_body_that_was_parsed_and_written_again_does_not_match(body: bytes) -> None:
    again = json.dumps(json.loads(body)).encode()

    assert json.loads(again) == json.loads(body)
    assert not verify(again, {HEADERS[0]: SIGNED[body]}, [SECRET])


@BODIES
def test_one_more_byte_does_not_match(body: bytes) -> None:
    assert not verify(body + b" ", {HEADERS[0]: SIGNED[body]}, [SECRET])


def test_the_constant_is_what_chapa_documents() -> None:
    assert sign(SECRET.encode(), SECRET) == CONSTANT


@NAMES
def test_the_constant_proves_nothing(name: str) -> None:
    assert not verify(COMPACT, {name: CONSTANT}, [SECRET])


def test_the_constant_under_both_names_proves_nothing() -> None:
    assert not verify(COMPACT, dict.fromkeys(HEADERS, CONSTANT), [SECRET])


def test_the_constant_beside_a_genuine_signature_does_no_harm() -> None:
    """That is how Chapa sends its standard webhooks."""
    headers = {"x-chapa-signature": SIGNED[COMPACT], "chapa-signature": CONSTANT}

    assert verify(COMPACT, headers, [SECRET])


@pytest.mark.parametrize("secrets", [(SECRET, "previous"), ("current", SECRET)])
def test_the_current_and_the_previous_secret_are_both_accepted(secrets: tuple[str, str]) -> None:
    assert verify(COMPACT, {HEADERS[0]: SIGNED[COMPACT]}, secrets)


def test_another_secret_is_not_accepted() -> None:
    assert not verify(COMPACT, {HEADERS[0]: sign(COMPACT, "another")}, [SECRET, "previous"])


@pytest.mark.parametrize("secrets", [[], [""], ["", ""]])
def test_nothing_configured_means_nothing_accepted(secrets: list[str]) -> None:
    assert not verify(COMPACT, {HEADERS[0]: sign(COMPACT, "")}, secrets)


def test_an_empty_secret_beside_a_real_one_opens_nothing() -> None:
    assert not verify(COMPACT, {HEADERS[0]: sign(COMPACT, "")}, [SECRET, ""])


def test_an_empty_secret_before_a_real_one_closes_nothing() -> None:
    assert verify(COMPACT, {HEADERS[0]: SIGNED[COMPACT]}, ["", SECRET])


@pytest.mark.parametrize("headers", [{}, {"signature": SIGNED[COMPACT]}, {"x-signature": "x"}])
def test_without_a_header_of_chapa_nothing_is_signed(headers: dict[str, str]) -> None:
    assert not verify(COMPACT, headers, [SECRET])


GOOD = SIGNED[COMPACT]
CLAIMS = {
    "empty": "",
    "truncated": GOOD[:-1],
    "half": GOOD[:32],
    "over-long": GOOD + "0",
    "far too long": GOOD * 10_000,
    "upper case": GOOD.upper(),
    "padded": f" {GOOD[:-1]}",
    "with a scheme": f"sha256={GOOD}",
    "twice, joined as proxies join them": f"{GOOD},{GOOD}",
    "twice, joined with a space": f"{GOOD}, {GOOD}",
    "another": "0" * 64,
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
@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_a_claim_that_is_no_signature_is_refused_quietly(name: str, claim: str) -> None:
    assert not verify(COMPACT, {name: claim}, [SECRET])
