"""Run the simulator: `python -m sandbox.chapa --port 8600`."""

import argparse
import errno
import random
import signal
import sys
import threading

from sandbox.chapa.server import HOST, Server
from sandbox.chapa.settings import Settings
from sandbox.chapa.simulator import Simulator


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sandbox.chapa", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=8600, help="port to listen on (8600); 0: any free port"
    )
    parser.add_argument("--webhook-url", help="where webhooks are sent; without it none are sent")
    parser.add_argument("--webhook-secret", help="secret that signs the webhooks")
    parser.add_argument(
        "--webhook-secret-v2", help="secret that signs the webhooks of v2 (--webhook-secret)"
    )
    parser.add_argument(
        "--api-key",
        action="append",
        default=[],
        help="a key to accept, can be repeated; without it any well-formed secret key of v1 "
        "(CHASECK_TEST-…, CHASECK-…) and of v2 (CHAPA_TEST_…, CHAPA_LIVE_…)",
    )
    parser.add_argument(
        "--retry-seconds",
        type=float,
        default=600,
        help="seconds between two attempts to send a webhook (600)",
    )
    parser.add_argument("--seed", help="seed of all randomness, to repeat a run")
    return parser


def main() -> int:
    parser = arguments()
    given = parser.parse_args()
    try:
        settings = Settings(
            webhook_url=given.webhook_url,
            webhook_secret=given.webhook_secret,
            webhook_secret_v2=given.webhook_secret_v2,
            retry_seconds=given.retry_seconds,
        )
    except ValueError:
        parser.error(
            "--webhook-url must be http(s) and needs --webhook-secret; --retry-seconds must be > 0"
        )
    try:
        rng = None if given.seed is None else random.Random(given.seed)  # noqa: S311
        server = Server(Simulator(settings, api_keys=given.api_key, rng=rng), given.port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "another program is using it" if taken else error.strerror
        print(f"Cannot listen on {HOST}:{given.port}: {why}.", file=sys.stderr)
        return 2
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with server:
        print(f"Chapa simulator at {server.url}, controlled at {server.url}/_control", flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
