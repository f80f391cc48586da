"""Request bodies, read by a pydantic model.

A module of its own: importing pydantic takes a fifth of a cold start, and most functions take no
body (`bench/results.md`).
"""

from pydantic import BaseModel, ValidationError

from payments.errors import InvalidRequest


def parse[M: BaseModel](model: type[M], body: bytes) -> M:
    """Raises InvalidRequest that names each wrong field, without repeating what was sent."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(
            "Some fields are not as they should be.",
            errors=[
                {"field": ".".join(map(str, e["loc"]))[:100] or "body", "message": e["msg"]}
                for e in error.errors(include_input=False, include_url=False)
            ][:20],
        ) from None
