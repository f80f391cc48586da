"""The simulator without a socket: a clock that a test moves, and a requests session."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import override
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from werkzeug.test import Client

from sandbox.chapa.app import create_app
from sandbox.chapa.faults import DroppedError
from sandbox.chapa.simulator import Simulator

BASE_URL = "http://chapa.local"


class ManualClock:
    """Moves only by `advance`; given as `hold`, that makes waits take no time."""

    def __init__(self, now: datetime = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Adapter(HTTPAdapter):
    """Passes requests to the app; a dropped connection raises the error that requests raises."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__()
        self._client = Client(create_app(simulator), use_cookies=False)

    @override
    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        try:
            response = self._client.open(
                request.path_url,
                base_url=urljoin(request.url or BASE_URL, "/"),
                method=request.method,
                headers=dict(request.headers),
                data=request.body or b"",
            )
        except DroppedError as error:
            if error.reset:
                raise requests.ConnectionError(error, request=request) from error
            raise requests.ReadTimeout(error, request=request) from error
        raw = HTTPResponse(
            body=io.BytesIO(response.get_data()),
            headers=dict(response.headers),
            status=response.status_code,
            preload_content=False,
        )
        return self.build_response(request, raw)


def session_for(simulator: Simulator) -> requests.Session:
    """A session whose requests to `BASE_URL` go to this simulator."""
    session = requests.Session()
    session.trust_env = False
    session.mount(BASE_URL, Adapter(simulator))
    return session
