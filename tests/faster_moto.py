"""moto with less work around each call. moto still decides what DynamoDB answers."""

import copy
import json
import re
from collections import defaultdict
from functools import cache
from typing import Any
from unittest.mock import patch

from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.hooks import EventAliaser
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import get_service_model
from moto.dynamodb.comparisons import AttributeValue, ConditionExpressionParser, OpDefault
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler
from werkzeug.exceptions import HTTPException


def install() -> None:
    # An attribute value is stored as it goes over the wire. Left alone, moto asks each for the ten
    # members that it might have, under several spellings.
    shapes: Any = vars(get_service_model("dynamodb"))["_service_description"]["shapes"]
    shapes["AttributeValue"]["document"] = True
    DynamoDBBackend.transact_write_items = _transact
    DynamoDBBackend.update_item = _update
    Item.__deepcopy__ = _copy_of
    Item.size = _small
    LimitedSizeDict.__setitem__ = dict.__setitem__
    DynamoType.to_regular_json = _plain
    DynamoType.cast_value = property(_cast_value)
    ConditionExpressionParser.parse = _parse
    ConditionExpressionParser._make_operand = _operand
    EventAliaser._alias_event_name = cache(EventAliaser._alias_event_name)  # type: ignore[attr-defined]


def rows(items: Any) -> Any:
    """A copy of the items of a table that later writes do not change."""
    return defaultdict(dict, {key: dict(row) for key, row in items.items()})


_cast = DynamoType.cast_value
_make_operand = ConditionExpressionParser._make_operand
_update_item = DynamoDBBackend.update_item
_transact_write_items = DynamoDBBackend.transact_write_items


def _update(
    self: DynamoDBBackend,
    table_name: str,
    key: Any,
    update_expression: str,
    expression_attribute_names: Any,
    expression_attribute_values: Any,
    **more: Any,
) -> Any:
    """Update a copy of the item, because `rows` shares the items.

    moto checks the condition. It would parse the expression several times; one that only sets and
    removes whole attributes is applied here.
    """
    table = self.get_table(table_name)
    hash_key, range_key = self.get_keys_value(table, key)
    # moto itself updates the tables without a sort key, which only the baseline of bench/ has.
    item = table.get_item(hash_key, range_key) if range_key is not None else None
    assignments = _assignments(update_expression) if item and not table.stream_shard else None
    if item:
        table.items[hash_key][range_key] = copy.deepcopy(item)
    if assignments:
        update_expression, more["attribute_updates"] = "", {}
    names, values = expression_attribute_names or {}, expression_attribute_values
    updated = _update_item(self, table_name, key, update_expression, names, values, **more)
    for path, value in assignments or ():
        if value:
            updated.attrs[names.get(path, path)] = DynamoType(values[value])
        else:
            updated.attrs.pop(names.get(path, path), None)
    return updated


@cache
def _assignments(expression: str) -> list[tuple[str, str]] | None:
    """Attributes, and the values that they get; nothing for one that is removed."""
    match = re.fullmatch(
        r"(?:SET ((?:, )?#?\w+ = :\w+)+)? ?(?:REMOVE ((?:, )?#?\w+)+)?", expression
    )
    return re.findall(r"(#?\b(?!SET |REMOVE )\w+)(?: = (:\w+))?", expression) if match else None


def _small(_: Item) -> int:
    """No table here fills a page of 1 MB, and no item is as large as 400 KB."""
    return 0


def _cast_value(self: DynamoType) -> Any:
    """Most values are strings; moto asks first whether they are anything else."""
    return self.value if self.type == "S" else _cast.__get__(self)


def _parse(self: ConditionExpressionParser) -> Any:
    """The product's conditions are the same texts each time; only their values differ."""
    text, names = self.condition_expression, self.expression_attribute_names or {}
    if not text:
        return OpDefault(None, None)
    key = text, *names.items()
    if key not in _known_trees:
        nodes = self._lex_condition_expression()
        nodes = self._apply_functions(self._parse_paths(nodes))
        nodes = self._apply_in(self._apply_comparator(nodes))
        nodes = self._apply_parens_and_booleans(self._apply_between(nodes))
        tree = nodes[0]
        self._assert_no_redundant_parentheses(tree)
        used = self._find_literals(tree), self._find_expr_attr_values(tree)
        _known_trees[key] = tree, *used
    tree, used_names, used_values = _known_trees[key]
    self.expr_attr_names_found.extend(used_names)
    self.expr_attr_values_found.extend(used_values)
    return self._make_op_condition(tree)


_known_trees: dict[tuple[Any, ...], Any] = {}


def _operand(self: ConditionExpressionParser, node: Any) -> Any:
    if node.kind == self.Kind.EXPRESSION_ATTRIBUTE_VALUE:
        values: Any = self.expression_attribute_values
        return AttributeValue(values[node.text])
    return _make_operand(self, node)


def _plain(self: DynamoType) -> dict[str, Any]:
    """Its JSON with values that are shared, not copied: see `_copy_of`."""
    match self.value:
        case dict() as members:
            return {self.type: {name: _plain_member(each) for name, each in members.items()}}
        case list() as members:
            return {self.type: [_plain_member(each) for each in members]}
        case value:
            return {self.type: value}


def _plain_member(value: Any) -> Any:
    return _plain(value) if isinstance(value, DynamoType) else value


def _copy_of(item: Item, _: Any) -> Item:
    """Share the values: no expression of the product changes one in place."""
    other = copy.copy(item)
    other.attrs = LimitedSizeDict.__new__(LimitedSizeDict)
    dict.update(other.attrs, item.attrs)
    return other


def _transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """Back up only references to the items; moto copies every item, once for each write."""

    def backup(table: Table, _: dict[int, Any]) -> Table:
        other = copy.copy(table)
        other.items = rows(table.items)
        if shard := table.stream_shard:
            other.stream_shard = copy.copy(shard)
            other.stream_shard.items = list(shard.items)
        return other

    with patch.object(Table, "__deepcopy__", backup, create=True):
        _transact_write_items(self, transact_items)


def call_directly(client: Any) -> None:
    """Pass the calls of a DynamoDB client to moto's handler without HTTP and signatures."""
    client._user_agent_creator.to_string = lambda: "tests"
    client._ruleset_resolver = None  # would find out the address of DynamoDB for each call
    client.meta.events.register_last("before-call.dynamodb", _handle)


def _handle(model: Any, params: Any, **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
    handler = DynamoHandler()
    handler.region, handler.current_account = "us-east-1", DEFAULT_ACCOUNT_ID
    handler.body = handler.params = json.loads(params["body"])
    status = 200
    try:
        parsed = dict(getattr(handler, xform_name(model.name))().result)
    except HTTPException as error:
        status, details = error.code or 400, json.loads(error.description or "{}")
        message = details.pop("message", None) or details.pop("Message", "")
        parsed = {"Error": {"Code": details.pop("__type").split("#")[-1], "Message": message}}
        parsed |= details
    parsed["ResponseMetadata"] = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
    return AWSResponse("", status, HTTPHeaders(), None), parsed
