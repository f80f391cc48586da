"""template.yaml with its loops expanded and its mappings looked up."""

import json
import sys
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from samcli.lib.cfn_language_extensions.models import TemplateProcessingContext
from samcli.lib.cfn_language_extensions.processors import ForEachProcessor
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = Path(__file__).parent.parent


@cache
def template() -> dict[str, Any]:
    context = TemplateProcessingContext(fragment=yaml_parse((ROOT / "template.yaml").read_text()))
    ForEachProcessor().process_template(context)
    expanded: dict[str, Any] = _resolved(context.fragment, context.fragment["Mappings"])
    return expanded


def transformed(**parameters: str) -> dict[str, dict[str, Any]]:
    """The resources that SAM makes of the template with these parameters, by logical id."""
    source = deepcopy(template())
    source["Transform"] = "AWS::Serverless-2016-10-31"
    for name, resource in source["Resources"].items():
        if resource["Type"].startswith("AWS::Serverless::"):
            uri = "ContentUri" if name == "SharedLayer" else "CodeUri"
            resource["Properties"][uri] = f"s3://bucket/{name}"
            # The rest is a path that only `sam build` knows.
            resource.pop("Metadata", None)
    made: dict[str, dict[str, Any]] = transform(source, parameters, NoPolicies())["Resources"]
    return made


class NoPolicies:
    """Looks up no names of AWS's managed policies."""

    def load(self) -> dict[str, str]:
        return {}


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """The properties of each resource of a type, such as `AWS::SQS::Queue`, by logical id."""
    return {
        name: resource.get("Properties", {})
        for name, resource in template()["Resources"].items()
        if resource["Type"] == kind
    }


def permissions(function: str) -> list[str]:
    """Its statements, such as `sqs: ReceiveMessage DeleteMessage on Queue.Arn`."""
    found = []
    for policy in resources("AWS::Serverless::Function")[function]["Policies"]:
        shared = "Ref" in policy and resources("AWS::IAM::ManagedPolicy")[policy["Ref"]]
        for statement in (shared["PolicyDocument"] if shared else policy)["Statement"]:
            assert statement["Effect"] == "Allow"
            service = statement["Action"][0].partition(":")[0]
            actions = " ".join(statement["Action"]).replace(f"{service}:", "")
            (on,) = statement["Resource"].values()
            found.append(f"{service}: {actions} on {on if isinstance(on, str) else '.'.join(on)}")
    return found


def attribute(name: str) -> dict[str, list[str]]:
    """What `!GetAtt Table.Arn` is when parsed."""
    return {"Fn::GetAtt": name.split(".")}


def _resolved(node: Any, mappings: dict[str, Any]) -> Any:
    match node:
        case {"Fn::Sub": str(text)} if "${" not in text:
            return text
        case {"Fn::FindInMap": [str(name), str(key), str(field)]}:
            return mappings[name][key][field]
        case dict():
            return {key: _resolved(value, mappings) for key, value in node.items()}
        case list():
            return [_resolved(each, mappings) for each in node]
    return node


if __name__ == "__main__":
    # As CloudFormation gets it, for tools that know neither SAM nor loops.
    parts = {part: template()[part] for part in ("Parameters", "Conditions")}
    json.dump(parts | {"Resources": transformed()}, sys.stdout)
