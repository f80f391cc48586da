"""The optional template in front of the API."""

from sandbox.stack import ROOT
from tests.journeys.shop import DeployedShop


def test_edge_puts_a_firewall_and_tls_in_front_of_the_api(shop: DeployedShop) -> None:
    stacks = shop.aws("cloudformation")
    host = "api.shop.example"
    stacks.create_stack(
        StackName="edge",
        TemplateBody=(ROOT / "edge.yaml").read_text(),
        Parameters=[{"ParameterKey": "ApiHost", "ParameterValue": host}],
    )
    stacks.get_waiter("stack_create_complete").wait(
        StackName="edge", WaiterConfig={"Delay": 0.2, "MaxAttempts": 100}
    )
    [firewall] = shop.aws("wafv2").list_web_acls(Scope="CLOUDFRONT")["WebACLs"]
    [front] = shop.aws("cloudfront").list_distributions()["DistributionList"]["Items"]
    assert front["WebACLId"] == firewall["ARN"]
    assert front["Origins"]["Items"][0]["DomainName"] == host
    assert front["DefaultCacheBehavior"]["ViewerProtocolPolicy"] == "https-only"
    [described] = stacks.describe_stacks(StackName="edge")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}
    assert outputs["WebhookUrl"] == f"https://{front['DomainName']}/webhooks/chapa"
