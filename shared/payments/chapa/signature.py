"""HMAC-SHA256 signatures of webhook bodies.

Chapa sends two headers. `x-chapa-signature` is an HMAC of the payload. `chapa-signature` is, for
the standard webhook, HMAC(secret, secret): one constant for every message, which proves nothing
about the body, and, for a custom webhook, an HMAC of the payload
(developer.chapa.co/integrations/webhooks). v2 sends `x-chapa-signature` (Chapa's chapa-cli and
chapa-nodejs). Only an HMAC of the payload counts here, under either name.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping

HEADERS = ("x-chapa-signature", "chapa-signature")
HEX_LENGTH = hashlib.sha256().digest_size * 2


def sign(body: bytes, secret: str) -> str:
    """The lower-case hex HMAC-SHA256 of the bytes exactly as they travel."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_signed(headers: Mapping[str, str]) -> bool:
    """Whether a header, its name in lower case, claims to be a signature."""
    return any(headers.get(name) for name in HEADERS)


def verify(body: bytes, headers: Mapping[str, str], secrets: Iterable[str]) -> bool:
    """Whether a header, its name in lower case, holds the HMAC of `body` under one of `secrets`.

    Several secrets are accepted at once so that a secret can be rotated without losing a message.
    An empty secret never matches, so that nothing configured means nothing accepted.
    """
    # compare_digest takes non-ASCII text only as bytes, and a header may hold anything, even halves
    # of surrogate pairs out of JSON.
    claims = [headers.get(name, "").encode("utf-8", "surrogatepass") for name in HEADERS]
    # One integrator of v2 removes this prefix.
    claims = [claim.removeprefix(b"sha256=") for claim in claims]
    claims = [claim for claim in claims if len(claim) == HEX_LENGTH]
    if not claims:
        return False
    genuine = False
    for secret in secrets:
        if not secret:
            continue
        expected = sign(body, secret).encode()
        for claim in claims:
            genuine |= hmac.compare_digest(claim, expected)
    return genuine
