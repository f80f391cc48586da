"""Receives events as another service would.

`python -m sandbox.listener` prints the events of the stack that `make up` started.
"""

import json
import sys
from typing import Any

from sandbox.stack import STATE, Description, client


class Listener:
    def __init__(self, stack: Description) -> None:
        self.received: list[dict[str, Any]] = []
        """Each event as EventBridge delivered it, duplicates included."""
        self._sqs = client("sqs", stack["endpoint_url"])
        self._url = stack["queues"]["events"]

    def listen(self, seconds: int = 0) -> list[dict[str, Any]]:
        """Events that arrived since the last call; waits so long for the first one."""
        fresh: list[dict[str, Any]] = []
        while messages := self._sqs.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=10, WaitTimeSeconds=0 if fresh else seconds
        ).get("Messages"):
            fresh += [json.loads(message["Body"]) for message in messages]
            self._sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ],
            )
        self.received += fresh
        return fresh

    def about(self, order_id: str) -> list[dict[str, Any]]:
        """Details of all events of one order so far, by number."""
        self.listen()
        details = [event["detail"] for event in self.received]
        mine = [detail for detail in details if detail["order_id"] == order_id]
        return sorted(mine, key=lambda detail: int(detail["number"]))


def main() -> int:
    try:
        listener = Listener(json.loads((STATE / "stack.json").read_text()))
    except FileNotFoundError:
        print("Nothing is running; start it with `make up`.", file=sys.stderr)
        return 1
    try:
        while True:
            for event in listener.listen(seconds=5):
                print(json.dumps(event["detail"], indent=2))
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
