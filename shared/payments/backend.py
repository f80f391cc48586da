"""What the use cases work with, put together once per process."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import boto3

from payments import domain
from payments.aws import CONFIG
from payments.chapa import Chapa
from payments.domain import LateSuccessPolicy, Rules, Verification
from payments.errors import Busy, OrderNotFound
from payments.ids import RandomBytes, is_order_id
from payments.queue import Queue
from payments.repository import Repository, Stale
from payments.settings import SecretStore, Settings
from payments.story import Story
from payments.telemetry import announce

RESERVED_SECONDS = 2.0
"""Of each invocation, kept for storing what the provider said and for answering."""

STALE_TRIES = 6
"""Times one decision is made anew because somebody wrote the order first."""


class LambdaContext(Protocol):
    def get_remaining_time_in_millis(self) -> int: ...


@dataclass(frozen=True)
class Backend:
    settings: Settings
    rules: Rules
    secrets: SecretStore
    repository: Repository
    chapa: Chapa
    queue: Queue
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random_bytes: RandomBytes = os.urandom
    deadline: float = float("inf")
    """On the monotonic clock: when work must be done."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Backend":
        """Raises ConfigurationError. Talks to nobody yet: the secret is read at first use."""
        settings = Settings.from_environment(environment)
        secrets = SecretStore(
            boto3.client("secretsmanager", config=CONFIG), settings.secret_id, settings.chapa_url
        )
        return cls(
            settings=settings,
            rules=settings.rules,
            secrets=secrets,
            repository=Repository(
                boto3.client("dynamodb", config=CONFIG),
                settings.table_name,
                republish_after=settings.republish_after_seconds,
            ),
            chapa=Chapa(settings, secrets),
            queue=Queue(boto3.client("sqs", config=CONFIG), settings.queue_url),
        )

    def within(self, context: LambdaContext) -> "Backend":
        """The same, bounded by what is left of one invocation."""
        left = context.get_remaining_time_in_millis() / 1000 - RESERVED_SECONDS
        return replace(self, deadline=self.monotonic() + left)

    @property
    def now(self) -> int:
        return int(self.clock())

    @property
    def time_left(self) -> float:
        return self.deadline - self.monotonic()

    def read(self, order_id: str) -> Story:
        """Raises OrderNotFound."""
        story = self.repository.read(order_id) if is_order_id(order_id) else None
        if story is None:
            raise OrderNotFound("There is no such order.", order_id=order_id)
        return story

    def read_owned(self, order_id: str, user_id: str) -> Story:
        """Raises OrderNotFound for somebody else's order too: ids tell strangers nothing."""
        story = self.read(order_id)
        if story.order.user_id != user_id:
            raise OrderNotFound("There is no such order.", order_id=order_id)
        return story

    def save(self, before: Story | None, after: Story) -> Story:
        """Save with the time of the next look, then tell the operators.

        Raises Stale, OutOfStock or Busy, as the repository does.
        """
        if after == before:
            return after
        return self.store(before, domain.scheduled(before, after, self.now, self.rules))

    def store(self, before: Story | None, after: Story) -> Story:
        saved = self.repository.save(before, after)
        if saved is not after:
            announce(after.order.order_id, after.news)
        return saved

    def change(self, story: Story, step: Callable[[Story], Story]) -> Story:
        """Take a step that is right for whatever the story has become when it is written."""
        for _ in range(STALE_TRIES):
            try:
                return self.save(story, step(story))
            except Stale:
                story = self.read(story.order.order_id)
        raise Busy("The order is being changed by too many at once.", retry_after=1)

    def decide(
        self, story: Story, tx_ref: str, said: Verification, late_success: LateSuccessPolicy
    ) -> domain.Decision:
        rules = replace(self.rules, late_success=late_success)
        return domain.decide(story, tx_ref, said, self.now, self.chapa.mode, rules)
