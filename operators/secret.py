"""Rotate the webhook secret, so that no webhook is refused meanwhile.

Secrets Manager cannot write under a condition, but it moves a label only from the version that the
caller names: the new version becomes the current one only if the one that was read still is
(docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html).
"""

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import boto3
import typer
from botocore.exceptions import ClientError

from operators.cli import REFUSED, Session, answer, app, confirm, note
from operators.metrics import counted
from payments.aws.secrets import FRESH_SECONDS
from payments.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

CURRENT, PREVIOUS = "webhook_secret", "webhook_secret_previous"
LABEL = "webhook-secret-rotation"
"""Of a version that is written and not yet the current one."""

DAY_SECONDS = 86_400
"""How long the previous secret is kept at least: Chapa may send a webhook again that it signed
before the change."""


class ChangedError(Exception):
    """Somebody else changed the secret meanwhile."""


@dataclass
class Stored:
    """The current version of the secret."""

    values: dict[str, Any]
    version: str
    since: int

    @property
    def previous(self) -> str:
        return str(self.values.get(PREVIOUS) or "").strip()


def read(client: "SecretsManagerClient", secret_id: str) -> Stored:
    """Raises ConfigurationError."""
    found = client.get_secret_value(SecretId=secret_id, VersionStage="AWSCURRENT")
    try:
        values = json.loads(found.get("SecretString", ""))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        # Not chained: the parser's message would quote the secret.
        raise ConfigurationError("The secret is not a JSON object. See docs/deploy.md.") from None
    return Stored(values, found["VersionId"], int(found["CreatedDate"].timestamp()))


def write(client: "SecretsManagerClient", secret_id: str, stored: Stored, **changed: str) -> None:
    """Raises ChangedError, and then nothing has changed."""
    made = client.put_secret_value(
        SecretId=secret_id,
        SecretString=json.dumps(stored.values | changed),
        VersionStages=[LABEL],
    )["VersionId"]
    try:
        client.update_secret_version_stage(
            SecretId=secret_id,
            VersionStage="AWSCURRENT",
            RemoveFromVersionId=stored.version,
            MoveToVersionId=made,
        )
    except ClientError as error:
        if error.response["Error"].get("Code") not in {
            *("InvalidParameterException", "InvalidRequestException", "ResourceNotFoundException"),
        }:
            raise
        # A repetition after a lost answer is refused as well.
        if read(client, secret_id).version != made:
            raise ChangedError from None
    finally:
        with suppress(ClientError):
            client.update_secret_version_stage(
                SecretId=secret_id, VersionStage=LABEL, RemoveFromVersionId=made
            )


@app.command(
    "rotate-webhook-secret",
    epilog="Examples: ./operate rotate-webhook-secret; a day later:"
    " ./operate rotate-webhook-secret --finish",
)
def rotate(
    finish: Annotated[
        bool, typer.Option("--finish", help="Stop accepting the previous secret.")
    ] = False,
    now: Annotated[
        bool,
        typer.Option("--now", help="With --finish: although webhooks may still be signed with it."),
    ] = False,
) -> None:
    """Make a new webhook secret; the old one stays accepted until you finish."""
    client, secret_id = boto3.client("secretsmanager"), Session.stack.outputs["SecretArn"]
    stored = read(client, secret_id)
    try:
        if finish:
            _finish(client, secret_id, stored, now=now)
        else:
            _begin(client, secret_id, stored)
    except ChangedError:
        note("Somebody else changed the secret meanwhile. Nothing was changed; run it again.")
        raise typer.Exit(REFUSED) from None


def _begin(client: "SecretsManagerClient", secret_id: str, stored: Stored) -> None:
    if stored.previous:
        note(
            "A rotation is under way: webhook_secret_previous is not empty. Finish it first with"
            " `./operate rotate-webhook-secret --finish`."
        )
        raise typer.Exit(REFUSED)
    confirm("There will be a new webhook secret. You must enter it on Chapa's dashboard.")
    new = secrets.token_hex(32)
    old = str(stored.values.get(CURRENT) or "").strip()
    write(client, secret_id, stored, **{CURRENT: new, PREVIOUS: old})
    answer(
        {
            "webhook_secret": new,
            "webhook_url": Session.stack.outputs.get("WebhookUrl", ""),
            "next": [
                f"Wait {FRESH_SECONDS} seconds: then the functions accept both secrets.",
                "Enter webhook_secret as the secret hash on Chapa's dashboard, under Settings,"
                " Webhooks. It is not shown again.",
                "See with `./operate doctor` that webhooks arrive and which secret they have.",
                "After a day: ./operate rotate-webhook-secret --finish",
            ],
        }
    )


def _finish(client: "SecretsManagerClient", secret_id: str, stored: Stored, *, now: bool) -> None:
    if not stored.previous:
        answer({"finished": True})
        note("No rotation is under way: only one webhook secret is accepted.")
        return
    clock = Session.stack.backend.now
    if not now:
        reason = None
        if (used := counted(Session.stack.name, "WebhookPreviousSecret", clock)) > 0:
            reason = (
                f"In the last day {used} webhooks had the previous secret. Enter the new one on"
                " Chapa's dashboard."
            )
        elif (age := clock - stored.since) < DAY_SECONDS:
            hours = age // 3600
            reason = f"The new secret is only {hours} hours old: Chapa may still repeat webhooks."
        if reason:
            note(f"{reason} Finish a day later, or give --now as well.")
            raise typer.Exit(REFUSED)
    confirm("Webhooks with the previous secret will be refused.")
    write(client, secret_id, stored, **{PREVIOUS: ""})
    answer({"finished": True})
