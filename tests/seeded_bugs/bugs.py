"""Known bugs, each as a change of the source, and the tests that must notice it.

Only where mutation testing does not reach: across files, in tables at the top of a module, in the
use cases, the client, the functions and the template. `python -m tests.seeded_bugs` seeds them.
"""

from typing import NamedTuple


class Bug(NamedTuple):
    what: str
    breaks: str
    """Invariants of the README by number, and public threads about the same bug."""
    path: str
    old: str
    """Found once in the file."""
    new: str
    caught_by: tuple[str, ...]
    """Arguments of pytest; of each at least one test must fail."""


DOMAIN = "shared/payments/domain/"
CHAPA = "shared/payments/chapa/"
AWS = "shared/payments/aws/"
USECASES = "shared/payments/usecases/"
WEB = "shared/payments/web/"
TEMPLATE = "template.yaml"


def of(name: str) -> tuple[str, ...]:
    """The unit tests of a module of the layer."""
    folder, _, module = name.rpartition("/")
    return (f"tests/payments/{folder}/test_{module}.py",)


WEBHOOK = ("tests/functions/test_webhook.py",)
FORGERIES = ("tests/functions/test_forgeries.py",)
IN_TEMPLATE = ("tests/test_template.py",)

BUGS = [
    # The tables of the state machines, which mutation testing leaves alone.
    Bug(
        "a success may become a failure",
        "1, 5; django-payments #491",
        f"{DOMAIN}states.py",
        "    _P.SUCCEEDED: _RETURNED | {_P.REVIEW},",
        "    _P.SUCCEEDED: _RETURNED | {_P.REVIEW, _P.FAILED},",
        of("domain/states"),
    ),
    Bug(
        "a failed attempt is final",
        "1; komoju-woocommerce #21",
        f"{DOMAIN}states.py",
        "    _P.FAILED: _CONFIRMED | {_P.CLOSING, _P.CLOSED},",
        "    _P.FAILED: frozenset({_P.CLOSING, _P.CLOSED}),",
        of("domain/decisions"),
    ),
    Bug(
        "manual review has no exit",
        "10; polar #5422, mollie/magento2 #537",
        f"{DOMAIN}states.py",
        "    _P.REVIEW: _RETURNED | {_P.SUCCEEDED, _P.UNAPPLIED, _P.CLOSED},",
        "    _P.REVIEW: frozenset(),",
        of("domain/states"),
    ),
    Bug(
        "a refused refund still counts against what was paid",
        "10; polar #5422",
        f"{DOMAIN}states.py",
        "COUNTED_REFUNDS = OPEN_REFUNDS | {_R.REFUNDED}",
        "COUNTED_REFUNDS = OPEN_REFUNDS | {_R.REFUNDED, _R.REVIEW}",
        of("domain/refunds"),
    ),
    Bug(
        "an expired order keeps its stock",
        "3; woocommerce #66256",
        f"{DOMAIN}states.py",
        "HOLDS_STOCK = frozenset({_O.PENDING, _O.PAID, _O.REFUNDED})",
        "HOLDS_STOCK = frozenset({_O.PENDING, _O.PAID, _O.REFUNDED, _O.EXPIRED})",
        of("usecases/reconcile"),
    ),
    Bug(
        "a refunded order releases stock that the customer still has",
        "3; woocommerce-gateway-stripe #1134",
        f"{DOMAIN}states.py",
        "HOLDS_STOCK = frozenset({_O.PENDING, _O.PAID, _O.REFUNDED})",
        "HOLDS_STOCK = frozenset({_O.PENDING, _O.PAID})",
        of("usecases/refund"),
    ),
    Bug(
        "a change is not compared with the tables",
        "1, 5",
        f"{DOMAIN}aggregate.py",
        "                _check(PAYMENT_MOVES, known.status, record.status)\n",
        "",
        of("domain/aggregate"),
    ),
    # What Chapa says.
    Bug(
        "no answer of Chapa is taken as: not paid",
        "6; chobbledotcom/tickets #2106",
        f"{CHAPA}v1.py",
        'logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return Verification(Said.UNKNOWN)",
        'logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return Verification(Said.NOT_PAID)",
        (*of("usecases/reconcile"), *of("chapa/v1")),
    ),
    Bug(
        "no answer of Chapa is taken as: failed",
        "6; x402 #40, ps_checkout #1546",
        f"{CHAPA}v1.py",
        'logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return Verification(Said.UNKNOWN)",
        'logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        '            return Verification(Said.FAILED, status="failed")',
        of("usecases/settle"),
    ),
    Bug(
        "the 404 of a proxy is taken as Chapa's",
        "6; chobbledotcom/tickets #2106",
        f"{CHAPA}calls.py",
        'raise ProviderFailed(f"HTTP {code} without an envelope")',
        "return Envelope(message=None, status=None, data=None, code=code)",
        of("chapa/v1"),
    ),
    Bug(
        "a status that is no plain word means: not paid",
        "6",
        f"{CHAPA}v1.py",
        "        said = SAID.get(word)\n",
        "        said = SAID.get(word, Said.NOT_PAID)\n",
        of("chapa/v1"),
    ),
    Bug(
        "an amount is read through a binary float",
        "4",
        f"{CHAPA}calls.py",
        "parse_float=Decimal, parse_constant",
        "parse_float=float, parse_constant",
        of("chapa/v1"),
    ),
    Bug(
        "a cancel that Chapa answered with 500 counts as closed",
        "3, 6; Sylius/PayumStripePlugin #70",
        f"{CHAPA}v1.py",
        'logger.warning("cancel unanswered", tx_ref=payment.tx_ref, reason=error.reason)\n'
        "            return False",
        'logger.warning("cancel unanswered", tx_ref=payment.tx_ref, reason=error.reason)\n'
        "            return True",
        (*of("usecases/reconcile"), *of("chapa/v1")),
    ),
    Bug(
        "a POST is repeated after an error",
        "5; medusa #16681",
        f"{CHAPA}calls.py",
        'allowed_methods={"GET"},',
        "allowed_methods=None,",
        of("chapa/v1"),
    ),
    Bug(
        "a read timeout is taken as: Chapa did nothing",
        "5, 6; ps_checkout #1546",
        f"{CHAPA}calls.py",
        'raise ProviderTimeout("no answer in time") from None',
        'raise ProviderTimeout("no answer in time", may_have_acted=False) from None',
        of("chapa/v1"),
    ),
    Bug(
        "a customer is sent to any page that the answer names",
        "a stranger's page takes the money",
        f"{CHAPA}calls.py",
        "        if not self._trusted(url):",
        "        if False:",
        of("chapa/v1"),
    ),
    Bug(
        "a proxy of the machine may see the key",
        "8",
        f"{CHAPA}calls.py",
        "self.session.trust_env = False",
        "self.session.trust_env = True",
        of("chapa/http"),
    ),
    Bug(
        "each send of a refund has a reference of its own",
        "1; medusa #16681",
        f"{CHAPA}v1.py",
        '"reference": refund_reference(refund.refund_id, refund.attempt),',
        '"reference": refund_reference(refund.refund_id, refund.sends + 1),',
        of("usecases/refund"),
    ),
    Bug(
        "only the documented shape of a webhook is read",
        "1; svix-webhooks #880",
        f"{CHAPA}notification.py",
        'for place in (content, content.get("data")):',
        "for place in (content,):",
        of("chapa/notification"),
    ),
    # Settling.
    Bug(
        "the webhook is believed, and Chapa is not asked",
        "4, 7; mozilla/fxa #10934",
        f"{USECASES}settle.py",
        "    answer = backend.provider(payment).verify(payment, backend.time_left)\n",
        "    from payments.domain.answers import Said\n"
        "    answer = Verification(\n"
        "        Said.PAID, tx_ref, payment.amount, payment.currency, 'test', 'AP'\n"
        "    )\n",
        of("usecases/settle"),
    ),
    Bug(
        "a lost race counts as applied",
        "2, 5; medusa #13301",
        f"{USECASES}backend.py",
        "                aggregate = self.read(aggregate.order.order_id)",
        "                return step(aggregate)",
        of("usecases/settle"),
    ),
    Bug(
        "a late success whose goods are gone changes nothing",
        "1; saleor #15246, vendure #3508",
        f"{USECASES}settle.py",
        '        policy = "refund"',
        "        return Decision(aggregate, Outcome.DUPLICATE)",
        of("usecases/settle"),
    ),
    Bug(
        "each copy of a webhook asks Chapa",
        "a flood of webhooks is a flood of questions",
        f"{USECASES}settle.py",
        "        scheduled\n",
        "        True\n",
        of("usecases/settle"),
    ),
    Bug(
        "an early check is on the queue only, and lost with it",
        "1, 5",
        f"{USECASES}settle.py",
        "    if backend.change(aggregate, step) is not aggregate:",
        "    if step(aggregate) is not aggregate:",
        of("usecases/settle"),
    ),
    Bug(
        "the next check is not stored with what changed",
        "1, 3",
        f"{USECASES}backend.py",
        "        scheduled = checks.schedule(before, after, self.now, self.rules)\n",
        "        scheduled = after\n",
        of("usecases/settle"),
    ),
    Bug(
        "customers see the orders of others",
        "strangers read what they should not",
        f"{USECASES}backend.py",
        "        if aggregate.order.user_id != user_id:",
        "        if not user_id:",
        of("usecases/initialize"),
    ),
    Bug(
        "customers see the payments of others",
        "strangers read what they should not",
        "functions/status/app.py",
        "    if aggregate.order.user_id != user_id:",
        "    if not user_id:",
        ("tests/functions/test_status.py",),
    ),
    # Two versions of Chapa.
    Bug(
        "amounts of v2 are counted in another unit",
        "4; one integrator sent birr as santim",
        f"{CHAPA}v2.py",
        "UNITS_PER_MINOR = 1\n",
        "UNITS_PER_MINOR = 100\n",
        of("chapa/v2"),
    ),
    Bug(
        "an old payment is settled by the version of the current key",
        "1, 6",
        f"{USECASES}backend.py",
        "        return self.providers[payment.provider]",
        "        return self.current_provider()",
        ("tests/payments/usecases/test_two_versions.py",),
    ),
    Bug(
        "stock is released while a page that cannot be closed lives on",
        "3",
        f"{DOMAIN}decisions.py",
        "        payment.can_cancel\n        or not rules.hold_until_page_expires\n",
        "        True\n        or not rules.hold_until_page_expires\n",
        ("tests/payments/usecases/test_without_cancel.py",),
    ),
    Bug(
        "a payment of v2 is stored as one that can be cancelled",
        "3",
        f"{USECASES}initialize.py",
        "            can_cancel=provider.can_cancel,\n",
        "",
        ("tests/payments/usecases/test_without_cancel.py",),
    ),
    Bug(
        "an order ends only with the check that happens to come next",
        "3",
        f"{DOMAIN}checks.py",
        "    checked = replace(checked, check_at=_by_the_end(aggregate.order, checked, now))\n",
        "",
        of("domain/checks"),
    ),
    # Initialize.
    Bug(
        "Chapa is called before the payment is written",
        "1, 5; statamic-cargo #190",
        f"{USECASES}initialize.py",
        "    aggregate = backend.save(\n"
        "        aggregate,\n"
        "        decisions.begin(\n"
        "            aggregate,\n"
        "            tx_ref,\n"
        "            provider.name,\n"
        "            backend.now,\n"
        "            backend.rules,\n"
        "            can_cancel=provider.can_cancel,\n"
        "        ),\n"
        "    )\n",
        "    aggregate = decisions.begin(\n"
        "        aggregate, tx_ref, provider.name, backend.now, backend.rules\n"
        "    )\n",
        of("usecases/initialize"),
    ),
    Bug(
        "a second click closes the payment that the first one opens",
        "5",
        f"{USECASES}initialize.py",
        "        if active is None or active.lease_until <= backend.now:",
        "        if active is None or active.lease_until <= backend.now + 3600:",
        of("usecases/initialize"),
    ),
    Bug(
        "a page is handed out though its payment was closed meanwhile",
        "4; vipps-woocommerce #217",
        f"{USECASES}initialize.py",
        "    if payment.status is not PaymentStatus.PENDING:",
        "    if payment.status is PaymentStatus.INITIALIZING:",
        of("usecases/initialize"),
    ),
    Bug(
        "a payment that Chapa may have opened is forgotten",
        "4, 6; ps_checkout #1546",
        f"{USECASES}initialize.py",
        "    step = decisions.maybe_opened if acted else decisions.never_opened",
        "    step = decisions.never_opened",
        of("usecases/initialize"),
    ),
    Bug(
        "an expired page is handed out again",
        "polar #6103, frappe/press #828",
        f"{USECASES}initialize.py",
        "            if decisions.page_is_usable(active, backend.now):",
        "            if active.status is PaymentStatus.PENDING:",
        of("usecases/initialize"),
    ),
    Bug(
        "payments of one order are begun without end",
        "Chapa is asked about all of them, for ever",
        f"{USECASES}initialize.py",
        "    if len(aggregate.payments) >= MAX_ATTEMPTS:",
        "    if False:",
        of("usecases/initialize"),
    ),
    # Reconcile and cancel.
    Bug(
        "an order expires and its page stays open at Chapa",
        "3; vipps-woocommerce #217",
        f"{USECASES}reconcile.py",
        "        cancelled = not payment.can_cancel or provider.cancel(payment, backend.time_left)",
        "        cancelled = True",
        of("usecases/reconcile"),
    ),
    Bug(
        "a payment is not verified again after it was closed",
        "1, 3; woocommerce-gateway-stripe #5810",
        f"{USECASES}reconcile.py",
        "        answer = provider.verify(payment, backend.time_left)\n",
        "        from payments.domain.answers import Said, Verification\n"
        "        answer = Verification(Said.NOT_PAID)\n",
        of("usecases/reconcile"),
    ),
    Bug(
        "a payment is closed though Chapa did not confirm the cancel",
        "3, 6",
        f"{USECASES}reconcile.py",
        "decision.outcome if cancelled else Outcome.UNANSWERED",
        "decision.outcome",
        of("usecases/reconcile"),
    ),
    Bug(
        "stock is released while a payment is under way",
        "3; woocommerce #20928",
        f"{USECASES}reconcile.py",
        "        elif over and decisions.still_in_grace(",
        "        elif not over and decisions.still_in_grace(",
        of("usecases/reconcile"),
    ),
    Bug(
        "a second message does the work again",
        "5",
        f"{USECASES}reconcile.py",
        "    if due is None or due > backend.now + CLOCKS_DIFFER_SECONDS:",
        "    if due is None:",
        of("usecases/reconcile"),
    ),
    Bug(
        "a customer is told that a paid order was cancelled",
        "4",
        f"{USECASES}cancel.py",
        "    if aggregate.order.status in {OrderStatus.PAID, OrderStatus.REFUNDED}:",
        "    if aggregate.order.status is OrderStatus.REFUNDED:",
        of("usecases/cancel"),
    ),
    Bug(
        "the worker does not finish a cancellation",
        "3",
        f"{USECASES}cancel.py",
        "        defer(backend, aggregate, None, backend.rules.verify_every)\n",
        "        pass\n",
        of("usecases/cancel"),
    ),
    Bug(
        "an order that failed in the worker counts as done",
        "1, 5",
        "functions/reconcile/app.py",
        '            failures.append({"itemIdentifier": record["messageId"]})',
        "            pass",
        ("tests/functions/test_reconcile.py",),
    ),
    Bug(
        "a queued order is queued again every minute",
        "an order that cannot be reconciled is a message each minute",
        f"{USECASES}sweep.py",
        "            backend.repository.queued(order, backend.now)\n",
        "            pass\n",
        of("usecases/sweep"),
    ),
    # Refunds and decisions of operators.
    Bug(
        "Chapa is asked for a refund before it is written",
        "1, 5",
        f"{USECASES}refund.py",
        "            refunds.before_sending(aggregate, refund_id, backend.now, backend.rules),",
        "            aggregate,",
        of("usecases/refund"),
    ),
    Bug(
        "a refund whose answer was lost is sent again without a check",
        "1; medusa #16681",
        f"{USECASES}refund.py",
        "    if not refund.sends:",
        "    if refund.provider_refund_id is None:",
        of("usecases/refund"),
    ),
    Bug(
        "a refund that Chapa may have received counts as refused",
        "1, 6; medusa #16681",
        f"{USECASES}refund.py",
        "    except ProviderRejected as error:",
        "    except ProviderError as error:",
        of("usecases/refund"),
    ),
    Bug(
        "the same key with other wishes returns the first refund",
        "1",
        f"{USECASES}refund.py",
        "    if not wants_the_same or dict(known.returns) != returned:",
        "    if not known:",
        of("usecases/refund"),
    ),
    Bug(
        "a retried refund may exceed what was paid",
        "1; hyperswitch #13182",
        f"{USECASES}refund.py",
        "    if counts_again and refund.amount > left:",
        "    if False:",
        of("usecases/refund"),
    ),
    Bug(
        "an operator dismisses a payment that is paid",
        "1",
        f"{USECASES}resolve.py",
        "    if answer.said is Said.PAID:",
        "    if False:",
        of("usecases/resolve"),
    ),
    # Placing.
    Bug(
        "another request under the same key returns the first order",
        "5",
        f"{USECASES}place.py",
        "    if known.order.request_hash != request_hash:",
        "    if not request_hash:",
        of("usecases/place"),
    ),
    Bug(
        "one customer's key returns another customer's order",
        "strangers read what they should not",
        f"{USECASES}place.py",
        "repeatable_order_id(user_id, idempotency_key, collisions)",
        'repeatable_order_id("", idempotency_key, 0)',
        of("usecases/place"),
    ),
    Bug(
        "two currencies are added up",
        "4",
        f"{USECASES}place.py",
        "    if len(currencies) > 1:",
        "    if not currencies:",
        of("usecases/place"),
    ),
    # Webhooks.
    Bug(
        "the webhook is open to everybody",
        "7",
        "functions/webhook/app.py",
        "    if not signature.verify(body, headers, secrets):",
        "    if signature.verify(body, headers, secrets) is None:",
        FORGERIES,
    ),
    Bug(
        "a body is parsed before its signature is checked",
        "7",
        "functions/webhook/app.py",
        "    _check_signature(body, headers)\n",
        "    notification.read(body)\n    _check_signature(body, headers)\n",
        FORGERIES,
    ),
    Bug(
        "a webhook that could not be stored is answered 200",
        "1; statamic-cargo #190",
        "functions/webhook/app.py",
        '        raise NotDeferred("Send this webhook again.", retry_after=RETRY_SECONDS) from None',
        '        return "deferred"',
        WEBHOOK,
    ),
    Bug(
        "the unsigned callback makes us ask Chapa at once",
        "7",
        "functions/webhook/app.py",
        "        defer(bounded, bounded.find(tx_ref), tx_ref, bounded.rules.verify_every)",
        "        settle(bounded, bounded.find(tx_ref), tx_ref)",
        WEBHOOK,
    ),
    Bug(
        "a webhook about a reversal is forgotten when Chapa cannot be asked",
        "1",
        "functions/webhook/app.py",
        "            paid_too = paid_too and decision.outcome is not Outcome.OPEN",
        "            paid_too = False",
        of("usecases/refund"),
    ),
    Bug(
        "a genuine webhook is answered 401 while no secret can be read",
        "7; middy #1271",
        "functions/webhook/app.py",
        '        raise Unavailable("No webhook secret is configured.", retry_after=RETRY_SECONDS)',
        '        raise BadSignature("No webhook secret is configured.")',
        WEBHOOK,
    ),
    Bug(
        "a base64 body is checked as the letters that it came in",
        "1; stripe-node #356, aws/chalice #2",
        f"{WEB}http.py",
        '    if not event.get("isBase64Encoded"):',
        '    if "isBase64Encoded" in event:',
        WEBHOOK,
    ),
    # Events and queues.
    Bug(
        "an event is unmarked before it is published",
        "5; serverless-coffee #13",
        f"{USECASES}publish.py",
        "            reasons = self._put(group)\n",
        "            for origin, _ in group:\n                self._unmark(origin.first)\n"
        "            reasons = self._put(group)\n",
        of("usecases/publish"),
    ),
    Bug(
        "an event that the bus refused does not come again",
        "5; serverless-coffee #13",
        f"{USECASES}publish.py",
        "                return origin.sequence_number",
        "                continue",
        of("usecases/publish"),
    ),
    Bug(
        "an event that the bus refused counts as published",
        "5",
        f"{AWS}bus.py",
        '        if not answer["FailedEntryCount"]:',
        "        if answer:",
        of("usecases/publish"),
    ),
    Bug(
        "a message that the queue refused counts as sent",
        "5",
        f"{AWS}queue.py",
        'answer.get("Failed", [])',
        "[]",
        of("aws/queue"),
    ),
    # Logs and responses.
    Bug(
        "words from outside are logged as they came",
        "8",
        "shared/payments/telemetry.py",
        '    return _PRIVATE.sub("[removed]", text[: 10 * limit])[:limit]',
        "    return text[:limit]",
        ("tests/payments/test_telemetry.py",),
    ),
    Bug(
        "a response repeats what was wrong with the customer's data",
        "8",
        f"{WEB}bodies.py",
        "include_input=False, include_url=False)",
        "include_url=False) for e in [{**e, 'msg': e['input']}]",
        ("tests/functions/test_orders.py",),
    ),
    Bug(
        "all tokens without a subject share one account",
        "strangers read what they should not; IdentityServer4 #5126",
        f"{WEB}http.py",
        "    if not isinstance(subject, str) or not subject.strip():",
        "    if subject is None:",
        of("web/http"),
    ),
    Bug(
        "a live key is sent in the clear",
        "8",
        f"{CHAPA}keys.py",
        '        if not url_of(version, given).startswith("https://"):',
        "        if not url_of(version, given):",
        of("chapa/keys"),
    ),
    Bug(
        "a line break in a pasted secret refuses every webhook",
        "7; probot #1974",
        f"{AWS}secrets.py",
        '    return value.strip() if isinstance(value, str) else ""',
        '    return value if isinstance(value, str) else ""',
        of("aws/secrets"),
    ),
    # The template.
    Bug(
        "anybody may open payments",
        "strangers pay and read what they should not",
        TEMPLATE,
        "      RouteKey: POST /payments\n      AuthorizationType: JWT\n"
        "      AuthorizerId: !Ref JwtAuthorizer\n",
        "      RouteKey: POST /payments\n      AuthorizationType: NONE\n",
        IN_TEMPLATE,
    ),
    Bug(
        "one failing message takes its batch with it",
        "5",
        TEMPLATE,
        "      BatchSize: 5\n      FunctionResponseTypes: [ReportBatchItemFailures]\n",
        "      BatchSize: 5\n",
        IN_TEMPLATE,
    ),
    Bug(
        "a failing message is repeated for ever, and no alarm fires",
        "1",
        TEMPLATE,
        "      RedrivePolicy:\n        deadLetterTargetArn: !GetAtt DeadLetterQueue.Arn\n"
        "        maxReceiveCount: 5\n",
        "",
        IN_TEMPLATE,
    ),
    Bug(
        "a message is visible again while its worker still runs",
        "5",
        TEMPLATE,
        "      VisibilityTimeout: 360",
        "      VisibilityTimeout: 30",
        IN_TEMPLATE,
    ),
    Bug(
        "the sweep does not run",
        "1, 3; woocommerce #22206",
        TEMPLATE,
        "            ScheduleExpression: rate(1 minute)",
        "            ScheduleExpression: rate(1 day)",
        IN_TEMPLATE,
    ),
    Bug(
        "no alarm fires for a payment in manual review",
        "1",
        TEMPLATE,
        "PaymentReversed, PaymentReview, ",
        "PaymentReversed, ",
        ("tests/test_alarms.py",),
    ),
    Bug(
        "API Gateway gives up before the function can say why",
        "6",
        TEMPLATE,
        "    Timeout: 27\n",
        "    Timeout: 60\n",
        IN_TEMPLATE,
    ),
    Bug(
        "the new value of a parameter does not reach the functions",
        "serverless-application-model #3820",
        TEMPLATE,
        "        LEASE_SECONDS ${LeaseSeconds}\n",
        "",
        IN_TEMPLATE,
    ),
    # The comparison with Chapa's list.
    Bug(
        "a reversal in Chapa's list is no difference",
        "1",
        f"{DOMAIN}comparison.py",
        "    Said.REVERSED: _NOT_SEEN | PAID | {_P.REFUNDED},",
        "    Said.REVERSED: _NOT_SEEN,",
        of("domain/comparison"),
    ),
    Bug(
        "a payment that an earlier comparison saw is never missing",
        "1",
        f"{DOMAIN}comparison.py",
        "    if (payment.listed_at or 0) >= comparison.started_at:",
        "    if payment.listed_at is not None:",
        of("domain/comparison"),
    ),
    Bug(
        "a page counts as compared before what it shows is recorded",
        "5",
        f"{USECASES}compare.py",
        "        one = step(backend, comparison)\n        for",
        "        one = step(backend, comparison)\n"
        "        comparison = backend.comparisons.save_comparison(comparison, one.comparison)\n"
        "        for",
        of("usecases/compare"),
    ),
    Bug(
        "the books are compared once a month",
        "1",
        TEMPLATE,
        "            ScheduleExpression: cron(0/15 1-6 * * ? *)",
        "            ScheduleExpression: cron(0/15 1-6 1 * ? *)",
        IN_TEMPLATE,
    ),
    Bug(
        "the cursor of another customer's list is accepted",
        "customers see only their own orders",
        f"{USECASES}lists.py",
        "if not found or found[0].user_id != user_id:",
        "if not found:",
        of("usecases/lists"),
    ),
    Bug(
        "orders of a customer at the same moment pass the limit together",
        "the limit of unpaid orders",
        f"{AWS}repository.py",
        '{"orders": before}, after, {"orders": [before]})',
        '{"orders": before}, after, {"pk": [key["pk"]["S"]]})',
        of("usecases/place"),
    ),
]
