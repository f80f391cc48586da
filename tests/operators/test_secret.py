import json
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from operators import secret
from tests.operators.tool import Run
from tests.shop import API_KEY, WEBHOOK_SECRET, Shop

DASHBOARD = {"event": "charge.success", "tx_ref": "a" * 20}


class FakeSecrets:
    """Versions and labels as Secrets Manager has them; moto moves labels otherwise."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._versions: list[tuple[str, datetime]] = []
        self.labels: dict[str, str] = {}
        self.lose_answer = False

    def put(self, **values: str) -> None:
        """What somebody else stores."""
        made = self.put_secret_value("chapa", json.dumps(values), ["AWSCURRENT"])
        self.labels["AWSCURRENT"] = made["VersionId"]

    def put_secret_value(
        self,
        SecretId: str,  # noqa: N803
        SecretString: str,  # noqa: N803
        VersionStages: list[str],  # noqa: N803
    ) -> dict[str, str]:
        assert SecretId == "chapa"
        self._versions.append((SecretString, self._shop.clock()))
        version = str(len(self._versions) - 1)
        self.labels |= dict.fromkeys(VersionStages, version)
        return {"VersionId": version}

    def get_secret_value(self, SecretId: str, VersionStage: str) -> dict[str, Any]:  # noqa: N803
        assert SecretId == "chapa"
        version = self.labels[VersionStage]
        text, made_at = self._versions[int(version)]
        return {"SecretString": text, "VersionId": version, "CreatedDate": made_at}

    def update_secret_version_stage(
        self,
        SecretId: str,  # noqa: N803
        VersionStage: str,  # noqa: N803
        RemoveFromVersionId: str,  # noqa: N803
        MoveToVersionId: str = "",  # noqa: N803
    ) -> None:
        refused = {"Error": {"Code": "InvalidParameterException"}}
        assert SecretId == "chapa"
        if self.labels.get(VersionStage) != RemoveFromVersionId:
            raise ClientError(refused, "UpdateSecretVersionStage")  # type: ignore[arg-type]
        del self.labels[VersionStage]
        if MoveToVersionId:
            self.labels[VersionStage] = MoveToVersionId
        if self.lose_answer:
            # The client repeats the call, and the label is not there any more.
            self.lose_answer = False
            raise ClientError(refused, "UpdateSecretVersionStage")  # type: ignore[arg-type]

    @property
    def values(self) -> dict[str, str]:
        return dict(json.loads(self.get_secret_value("chapa", "AWSCURRENT")["SecretString"]))


@pytest.fixture
def secrets(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> FakeSecrets:
    fake = FakeSecrets(shop)
    fake.put(api_key=API_KEY, webhook_secret=WEBHOOK_SECRET)
    monkeypatch.setattr("operators.secret.boto3", SimpleNamespace(client=lambda _: fake))
    return fake


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often webhooks had the previous secret."""
    counts = {"WebhookPreviousSecret": 0}
    monkeypatch.setattr(secret, "counted", lambda _stack, name, _now: counts[name])
    return counts


def test_old_secret_is_accepted_until_the_rotation_is_finished(
    shop: Shop,
    run: Run,
    secrets: FakeSecrets,
    used: dict[str, int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = secrets.values
    shown = run("rotate-webhook-secret", "--json")
    new = shown.data["webhook_secret"]
    both = {"webhook_secret": new, "webhook_secret_previous": WEBHOOK_SECRET}
    assert secrets.values == before | both
    shop.set_secret(**secrets.values)
    shop.clock.advance(60)
    capsys.readouterr()
    assert shop.webhook(DASHBOARD, sign_with=new).status == 200
    assert "WebhookPreviousSecret" not in capsys.readouterr().out
    assert shop.webhook(DASHBOARD).status == 200
    assert "WebhookPreviousSecret" in capsys.readouterr().out

    kept = secrets.values
    again = run("rotate-webhook-secret")
    assert (again.code, "A rotation is under way" in again.err) == (1, True)
    early = run("rotate-webhook-secret", "--finish")
    assert (early.code, "only 0 hours old" in early.err) == (1, True)
    shop.clock.advance(86_400)
    used["WebhookPreviousSecret"] = 2
    late = run("rotate-webhook-secret", "--finish")
    assert (late.code, "2 webhooks had the previous secret" in late.err) == (1, True)
    assert secrets.values == kept
    used["WebhookPreviousSecret"] = 0
    for _ in range(2):
        assert run("rotate-webhook-secret", "--finish", "--json").data == {"finished": True}
    assert secrets.values == kept | {"webhook_secret_previous": ""}
    shop.set_secret(**secrets.values)
    shop.clock.advance(60)
    assert shop.webhook(DASHBOARD).status == 401


def test_nothing_changes_without_a_yes(run: Run, secrets: FakeSecrets) -> None:
    before = secrets.values
    asked = run("rotate-webhook-secret", yes=False)
    assert (asked.code, asked.out, secrets.values) == (1, "", before)


@pytest.mark.parametrize("value", ["half a docu", "[]"])
def test_secret_that_is_no_object_is_not_printed(
    run: Run, secrets: FakeSecrets, value: str
) -> None:
    secrets.put_secret_value("chapa", value, ["AWSCURRENT"])
    result = run("rotate-webhook-secret")
    assert (result.code, value in result.err) == (2, False)


def test_change_of_somebody_else_meanwhile_is_kept(
    run: Run, secrets: FakeSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = secret.read(secrets, "chapa")  # type: ignore[arg-type]
    monkeypatch.setattr(secret, "read", lambda *_: read)
    secrets.put(api_key="theirs")
    refused = run("rotate-webhook-secret")
    assert (refused.code, refused.out) == (1, "")
    assert "Somebody else changed the secret" in refused.err
    assert (secrets.values, [*secrets.labels]) == ({"api_key": "theirs"}, ["AWSCURRENT"])


def test_change_whose_answer_was_lost_is_done(run: Run, secrets: FakeSecrets) -> None:
    secrets.lose_answer = True
    new = run("rotate-webhook-secret", "--json").data["webhook_secret"]
    assert secrets.values["webhook_secret"] == new
