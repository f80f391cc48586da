"""Parameters that do not fit together are refused before anything is deployed."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from samcli.yamlhelper import yaml_parse

from tests.journeys.shop import DeployedShop
from tests.template import ROOT, template

ISSUER = {"JwtIssuer": "https://login.shop.example"}


@pytest.mark.parametrize(
    ("file", "parameters", "reason"),
    [
        ("template.yaml", ISSUER, "JwtIssuer needs JwtAudience"),
        ("template.yaml", ISSUER | {"JwtAudience": "shop,"}, "JwtAudience"),
        (
            "template.yaml",
            {"LoginDomainPrefix": "shop"},
            "LoginDomainPrefix needs LoginCallbackUrls",
        ),
        ("edge.yaml", {"ApiHost": "a.example", "DomainName": "b.example"}, "needs CertificateArn"),
        ("template.yaml", ISSUER | {"JwtAudience": "shop,tills"}, ""),
    ],
)
def test_parameters_that_do_not_fit_are_refused_with_the_reason(
    shop: DeployedShop, file: str, parameters: dict[str, str], reason: str
) -> None:
    refused = ""
    try:
        shop.aws("cloudformation").create_stack(
            StackName="rules",
            TemplateBody=json.dumps(rules_of(file)),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
        )
    except ClientError as error:
        refused = str(error)
    else:
        shop.aws("cloudformation").delete_stack(StackName="rules")
    assert reason in refused
    assert bool(reason) == bool(refused)


def rules_of(file: str) -> dict[str, Any]:
    """The template with one small resource."""
    whole = template() if file == "template.yaml" else yaml_parse((ROOT / file).read_text())
    kept = {part: whole[part] for part in ("Parameters", "Rules")}
    return kept | {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
