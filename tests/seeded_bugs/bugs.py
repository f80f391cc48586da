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


STATES = "shared/payments/states.py"
STORY = "shared/payments/story.py"
BACKEND = "shared/payments/backend.py"
SETTLE = "shared/payments/settle.py"
INITIALIZE = "shared/payments/initialize.py"
RECONCILE = "shared/payments/reconcile.py"
CANCEL = "shared/payments/cancel.py"
REFUNDS = "shared/payments/refunds.py"
CHECKOUT = "shared/payments/checkout.py"
CHAPA = "shared/payments/chapa.py"
PUBLISH = "shared/payments/publish.py"
QUEUE = "shared/payments/queue.py"
HTTP = "shared/payments/http.py"
TELEMETRY = "shared/payments/telemetry.py"
WEBHOOK = "functions/webhook/app.py"
TEMPLATE = "template.yaml"


def in_scene(scene: str) -> str:
    """The interleavings of a scene, as many as are played by day."""
    return f"tests/search/test_interleavings.py -k {scene}"


def of(module: str, test: str) -> str:
    return f"tests/payments/test_{module}.py::{test}"


BUGS = [
    # What Chapa says, and what it means.
    Bug(
        "a success may become a failure",
        "1, 5; django-payments #491",
        STATES,
        "    _P.SUCCEEDED: frozenset({_P.REFUNDED, _P.REVERSED}),",
        "    _P.SUCCEEDED: frozenset({_P.REFUNDED, _P.REVERSED, _P.FAILED}),",
        ("tests/payments/test_states.py::test_success_never_becomes_unpaid",),
    ),
    Bug(
        "a failed attempt is final, and a later success on the same page is ignored",
        "1; komoju-woocommerce #21",
        STATES,
        "    _P.FAILED: _VERIFIED | {_P.CLOSING},",
        "    _P.FAILED: frozenset({_P.CLOSING}),",
        (of("settle", "test_failed_attempt_may_still_succeed_on_the_same_page"),),
    ),
    Bug(
        "no answer of Chapa is taken as: not paid",
        "6; chobbledotcom/tickets #2106",
        CHAPA,
        '            logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return Verification(Said.UNKNOWN)",
        '            logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return Verification(Said.OPEN)",
        (
            of("reconcile", "test_order_does_not_expire_while_chapa_is_unreachable"),
            of("chapa", "test_verify_without_a_usable_answer_is_unknown"),
        ),
    ),
    Bug(
        "no answer of Chapa is taken as: failed",
        "6; x402 #40, ps_checkout #1546",
        CHAPA,
        '            logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return Verification(Said.UNKNOWN)",
        '            logger.warning("verify unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return Verification(Said.FAILED)",
        (of("settle", "test_unanswered_verify_fails_no_payment"),),
    ),
    Bug(
        "the 404 of a proxy is taken as Chapa's",
        "6; chobbledotcom/tickets #2106",
        CHAPA,
        '            raise ProviderFailed(f"HTTP {reply.status_code} without an envelope") from None',
        "            return reply, Envelope(message=None)",
        (of("chapa", "test_verify_without_a_usable_answer_is_unknown"),),
    ),
    Bug(
        "an unknown status means: failed",
        "6",
        CHAPA,
        "        said = SAID.get(word)",
        "        said = SAID.get(word, Said.FAILED)",
        (of("chapa", "test_unknown_status_is_counted_and_means_nothing"),),
    ),
    Bug(
        "an amount is read through a binary float",
        "4",
        CHAPA,
        "parse_float=Decimal, parse_constant",
        "parse_float=float, parse_constant",
        (of("chapa", "test_amount_is_read_exactly_in_every_form"),),
    ),
    Bug(
        "a success without its facts counts as an answer",
        "4, 6",
        CHAPA,
        "        if said is Said.PAID and None in facts:",
        "        if False:",
        (of("chapa", "test_success_without_readable_facts_is_unknown"),),
    ),
    Bug(
        "a cancel that Chapa answered with 500 counts as closed",
        "3, 6; Sylius/PayumStripePlugin #70",
        CHAPA,
        '            logger.warning("cancel unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return False",
        '            logger.warning("cancel unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return True",
        (of("reconcile", "test_order_does_not_expire_while_chapa_is_unreachable"),),
    ),
    Bug(
        "a POST is repeated after an error",
        "5; medusa #16681",
        CHAPA,
        '            allowed_methods={"GET"},',
        "            allowed_methods=None,",
        (of("chapa", "test_initialize_cancel_and_refund_are_sent_exactly_once"),),
    ),
    Bug(
        "a read timeout is taken as: Chapa did nothing",
        "5, 6; ps_checkout #1546",
        CHAPA,
        "        except requests.Timeout:\n"
        '            raise ProviderTimeout("no answer in time") from None',
        "        except requests.Timeout:\n"
        '            raise ProviderTimeout("no answer in time", may_have_acted=False) from None',
        (
            of("chapa", "test_initialize_says_whether_chapa_may_have_acted"),
            of(
                "initialize",
                "TestProviderErrors::test_each_error_has_its_answer_and_allows_another_payment",
            ),
        ),
    ),
    Bug(
        "a customer is sent to any page that the answer names",
        "a stranger's page takes the money",
        CHAPA,
        "        if not self._trusted(checkout_url):",
        "        if False:",
        (of("chapa", "test_other_checkout_page_is_never_given_to_a_customer"),),
    ),
    Bug(
        "a proxy of the machine may see the key",
        "8",
        CHAPA,
        "        self.session.trust_env = False",
        "        self.session.trust_env = True",
        (of("chapa", "test_proxy_of_the_machine_does_not_see_the_key"),),
    ),
    # The tables of the state machines.
    Bug(
        "a change of status is not compared with the tables",
        "1, 5",
        STORY,
        "                _check(PAYMENT_MOVES, payment.status, changed.status)\n",
        "",
        (of("domain", "test_transition_that_the_tables_lack_is_an_error"),),
    ),
    Bug(
        "a payment is closed without a lease, while another process works on it",
        "5",
        STATES,
        "    _P.PENDING: _VERIFIED | {_P.FAILED, _P.CLOSING},",
        "    _P.PENDING: _VERIFIED | {_P.FAILED, _P.CLOSING, _P.CLOSED},",
        ("tests/payments/test_states.py::test_opened_payment_is_closed_only_under_a_lease",),
    ),
    Bug(
        "an expired order releases its stock twice",
        "3; mollie/WooCommerce #1252",
        STATES,
        "    (_S.RESERVED, _S.RELEASED): StockChange(reserved=-1, available=+1),",
        "    (_S.RESERVED, _S.RELEASED): StockChange(reserved=-1, available=+2),",
        (
            "tests/payments/test_states.py::test_stock_moves_conserve_units",
            of("reconcile", "test_unpaid_order_releases_its_stock"),
        ),
    ),
    Bug(
        "a late success does not take its stock again",
        "3; mollie/WooCommerce #1252",
        STATES,
        "    (_S.RELEASED, _S.COMMITTED): StockChange(available=-1, committed=+1),",
        "    (_S.RELEASED, _S.COMMITTED): StockChange(committed=+1),",
        (
            of("settle", "TestLateSuccess::test_it_is_owed_back_when_the_stock_is_sold"),
            in_scene("expired_and_paid"),
        ),
    ),
    # The next check.
    Bug(
        "a check at which Chapa was not asked counts as an answer",
        "1, 6",
        RECONCILE,
        "    if Outcome.NOT_ASKED in outcomes and not unknown:",
        "    if False:",
        (of("reconcile", "test_unanswered_final_checks_do_not_count"),),
    ),
    Bug(
        "a check without news is not counted, so a check comes every minute",
        "a silent provider is asked ever more often",
        RECONCILE,
        "    if story.order.version == found:",
        "    if False:",
        (of("reconcile", "test_unanswered_final_checks_do_not_come_every_minute"),),
    ),
    Bug(
        "a second message checks again",
        "5",
        RECONCILE,
        "    if due is None or due > backend.now + CLOCKS_DIFFER_SECONDS:",
        "    if due is None:",
        ("tests/functions/test_reconcile.py::test_repeated_message_checks_the_payment_once",),
    ),
    # Settling.
    Bug(
        "the webhook is believed, and Chapa is not asked",
        "4, 7; mozilla/fxa #10934",
        SETTLE,
        "    return apply(backend, story, tx_ref, backend.chapa.verify(tx_ref, backend.time_left))",
        "    said = domain.Said.PAID\n"
        "    facts = (tx_ref, payment.amount, payment.currency, backend.chapa.mode, tx_ref)\n"
        "    return apply(backend, story, tx_ref, Verification(said, *facts))",
        (of("settle", "test_webhook_of_unpaid_payment_changes_nothing"),),
    ),
    Bug(
        "a webhook during another one's verify is answered as done",
        "1, 5; hyperswitch #3408",
        WEBHOOK,
        "        if decision.outcome in {Outcome.APPLIED, Outcome.DUPLICATE} and not",
        "        if decision.outcome in {Outcome.APPLIED, Outcome.DUPLICATE, Outcome.NOT_ASKED} and not",
        (
            of(
                "settle",
                "test_webhook_soon_after_a_verify_causes_an_early_check",
            ),
        ),
    ),
    Bug(
        "a lost race counts as applied",
        "2, 5; medusa #13301",
        SETTLE,
        "        except Stale:\n"
        "            story = backend.read(story.order.order_id)\n"
        "        except OutOfStock:",
        "        except Stale:\n            return decision\n        except OutOfStock:",
        (of("settle", "test_two_webhooks_at_the_same_moment_apply_once"),),
    ),
    Bug(
        "a late success whose goods are gone changes nothing",
        "1; saleor #15246, vendure #3508",
        SETTLE,
        '            policy = "refund"',
        "            return Decision(story, Outcome.DUPLICATE)",
        (
            of("settle", "TestLateSuccess::test_it_is_owed_back_when_the_stock_is_sold"),
            in_scene("paid_and_sold_out"),
        ),
    ),
    Bug(
        "each copy of a webhook asks Chapa",
        "a flood of webhooks is a flood of questions",
        SETTLE,
        "    if not backend.repository.claim_look(story.order.order_id, tx_ref, backend.now, every):",
        "    if not every:",
        (of("settle", "test_many_webhooks_cause_one_verify_in_three_seconds"),),
    ),
    Bug(
        "an early check is on the queue only, and lost with it",
        "1, 5",
        SETTLE,
        "            backend.store(story, nudged)\n",
        "            pass\n",
        ("tests/functions/test_webhook.py::test_webhook_that_cannot_be_deferred_is_answered_503",),
    ),
    Bug(
        "the next check is not stored with what changed",
        "1, 3",
        BACKEND,
        "        return self.store(before, domain.scheduled(before, after, self.now, self.rules))",
        "        return self.store(before, after)",
        (of("reconcile", "test_payment_whose_webhook_was_lost_is_found"), in_scene("waiting")),
    ),
    Bug(
        "customers see and pay the orders of others",
        "strangers read what they should not",
        BACKEND,
        "        if story.order.user_id != user_id:",
        "        if not user_id:",
        (
            of("initialize", "TestRefusals::test_order_of_another_user_is_not_found"),
            of("cancel", "test_order_of_another_user_cannot_be_cancelled"),
            "tests/functions/test_status.py::test_order_and_payment_of_another_user_are_not_found",
        ),
    ),
    Bug(
        "customers see the payments of others",
        "strangers read what they should not",
        "functions/status/app.py",
        "    if story.order.user_id != user_id:",
        "    if not user_id:",
        ("tests/functions/test_status.py::test_order_and_payment_of_another_user_are_not_found",),
    ),
    # Initialize.
    Bug(
        "Chapa is called before the payment is written",
        "1, 5; statamic-cargo #190",
        INITIALIZE,
        "story = backend.save(story, domain.begin(story, tx_ref, backend.now, backend.rules))",
        "story = domain.begin(story, tx_ref, backend.now, backend.rules)",
        (of("initialize", "test_payment_is_written_before_chapa_is_called"),),
    ),
    Bug(
        "a second click closes the payment that the first one opens",
        "5",
        INITIALIZE,
        "            if live.lease_until > backend.now:",
        "            if live.lease_until > backend.now + 3600:",
        (of("initialize", "TestConcurrentRequests::test_second_request_waits_for_the_first"),),
    ),
    Bug(
        "a page is handed out though its payment was closed meanwhile",
        "4; vipps-woocommerce #217",
        INITIALIZE,
        "    if payment is None or payment.status is not PaymentStatus.PENDING:",
        "    if payment is None:",
        (
            of(
                "initialize",
                "test_webhook_before_the_answer_of_initialize_pays_the_order",
            ),
        ),
    ),
    Bug(
        "a payment that Chapa may have opened is forgotten",
        "4, 6; ps_checkout #1546",
        INITIALIZE,
        "        step = domain.lost if error.may_have_acted else domain.never_opened",
        "        step = domain.never_opened",
        (
            of(
                "initialize",
                "TestProviderErrors::test_each_error_has_its_answer_and_allows_another_payment",
            ),
        ),
    ),
    Bug(
        "a payment whose page was lost is replaced before it is closed",
        "4",
        INITIALIZE,
        "        if not closed:",
        "        if False:",
        (
            of(
                "initialize",
                "TestProviderErrors::test_unanswered_payment_is_closed_before_it_is_replaced",
            ),
        ),
    ),
    Bug(
        "payments of one order are begun without end",
        "Chapa is asked about all of them, for ever",
        INITIALIZE,
        "                if len(story.payments) >= MAX_ATTEMPTS:",
        "                if False:",
        (of("initialize", "TestRefusals::test_order_has_at_most_twenty_payments"),),
    ),
    # Closing, expiry, cancellation.
    Bug(
        "the stock is released before the page is closed",
        "3; saleor #12652, woocommerce #66256",
        RECONCILE,
        "    shut: list[str] = []\n",
        "    gone = [payment.tx_ref for payment in payments]\n"
        "    story = backend.change(\n"
        "        story,\n"
        "        lambda s: domain.end(domain.close(s, gone, reason, backend.now), backend.now),\n"
        "    )\n"
        "    shut: list[str] = []\n",
        (of("reconcile", "test_payment_is_closed_before_the_stock_is_released"),),
    ),
    Bug(
        "an order expires and its page stays open at Chapa",
        "3; vipps-woocommerce #217",
        RECONCILE,
        "        cancelled = backend.chapa.cancel(tx_ref, backend.time_left)",
        "        cancelled = True",
        (of("reconcile", "test_unpaid_order_releases_its_stock"),),
    ),
    Bug(
        "a payment is not verified again after it was closed",
        "1, 3; woocommerce-gateway-stripe #5810",
        RECONCILE,
        "apply(backend, story, tx_ref, backend.chapa.verify(tx_ref, backend.time_left))",
        "apply(backend, story, tx_ref, domain.Verification(domain.Said.OPEN))",
        (of("reconcile", "test_payment_between_verify_and_cancel_pays_the_order"),),
    ),
    Bug(
        "a payment is closed though Chapa did not confirm that it is unpaid",
        "1, 6",
        RECONCILE,
        "        if cancelled and decision.outcome is not Outcome.UNKNOWN:",
        "        if cancelled:",
        (of("cancel", "test_worker_completes_the_cancellation_if_chapa_is_unreachable"),),
    ),
    Bug(
        "a payment is closed though Chapa did not confirm the cancel",
        "3, 6",
        RECONCILE,
        "        if cancelled and decision.outcome is not Outcome.UNKNOWN:",
        "        if decision.outcome is not Outcome.UNKNOWN:",
        (of("cancel", "test_worker_completes_the_cancellation_if_chapa_is_unreachable"),),
    ),
    Bug(
        "a customer is told that a paid order was cancelled",
        "4",
        CANCEL,
        "    if story.order.status in {OrderStatus.PAID, OrderStatus.REFUNDED}:",
        "    if story.order.status is OrderStatus.REFUNDED:",
        (of("cancel", "test_order_whose_payment_succeeded_is_paid"),),
    ),
    Bug(
        "the worker does not finish a cancellation",
        "3",
        CANCEL,
        "        defer(backend, story, backend.settings.verify_every_seconds)\n",
        "",
        (of("cancel", "test_worker_completes_the_cancellation_if_chapa_is_unreachable"),),
    ),
    Bug(
        "an order that failed in the worker counts as done",
        "1, 5",
        "functions/reconcile/app.py",
        '            failures.append({"itemIdentifier": record["messageId"]})',
        "            pass",
        ("tests/functions/test_reconcile.py::test_failing_message_does_not_delay_the_others",),
    ),
    # Refunds.
    Bug(
        "each send of a refund has a reference of its own",
        "1; medusa #16681",
        CHAPA,
        '                "reference": refund.reference,',
        '                "reference": f"{refund.reference}-{refund.tries}",',
        (
            of(
                "refunds",
                "TestUnappliedPayment::test_unanswered_refund_is_sent_again_under_the_same_reference",
            ),
            in_scene("refund_requested"),
        ),
    ),
    Bug(
        "the same key refunds twice",
        "1; medusa #16292",
        REFUNDS,
        'hashlib.sha256(f"{tx_ref} {key}".encode())',
        'hashlib.sha256(f"{tx_ref} {key} {len(story.refunds)}".encode())',
        (of("refunds", "TestByAnOperator::test_same_key_twice_is_one_refund"),),
    ),
    Bug(
        "Chapa is asked for a refund before it is written",
        "1, 5",
        REFUNDS,
        "        story = backend.save(story, domain.try_refund(story, reference, backend.now, backend.rules))",
        "        pass",
        (of("refunds", "TestUnappliedPayment::test_it_is_refunded_without_an_operator"),),
    ),
    Bug(
        "a refund whose answer was lost is sent again without a check",
        "1; medusa #16681",
        REFUNDS,
        "    if refund.tries:",
        "    if False:",
        (
            of(
                "refunds",
                "TestUnappliedPayment::test_refund_whose_answer_was_lost_is_looked_up_before_it_is_sent_again",
            ),
        ),
    ),
    Bug(
        "a refund that Chapa may have received counts as refused",
        "1, 6; medusa #16681",
        REFUNDS,
        "    except ProviderRejected:",
        "    except ProviderError:",
        (
            of(
                "refunds",
                "TestUnappliedPayment::test_unanswered_refund_is_sent_again_under_the_same_reference",
            ),
        ),
    ),
    Bug(
        "a webhook about a reversal is forgotten when Chapa cannot be asked",
        "1",
        WEBHOOK,
        "        doubt = note.tx_ref if money_back and decision.outcome is not Outcome.OPEN else None",
        "        doubt = None",
        (
            of(
                "refunds",
                "TestProviderEvents::test_reversal_that_cannot_be_verified_now_is_checked_later",
            ),
        ),
    ),
    # Placing.
    Bug(
        "another request under the same key returns the first order",
        "5",
        CHECKOUT,
        "known.order.request_hash != request_hash",
        "not request_hash",
        (of("checkout", "TestIdempotencyKey::test_other_content_under_the_same_key_is_refused"),),
    ),
    Bug(
        "one customer's key returns another customer's order",
        "strangers read what they should not",
        CHECKOUT,
        "repeatable_order_id(user_id, idempotency_key)",
        'repeatable_order_id("", idempotency_key)',
        (of("checkout", "TestIdempotencyKey::test_same_key_of_another_user_is_another_order"),),
    ),
    Bug(
        "two currencies are added up",
        "4",
        CHECKOUT,
        "    if len(currencies) > 1:",
        "    if not currencies:",
        (of("checkout", "test_refused_order_writes_nothing"),),
    ),
    # Webhooks.
    Bug(
        "the webhook is open to everybody",
        "7",
        WEBHOOK,
        "    if not signature.verify(body, headers, _webhook_secrets()):",
        "    if signature.verify(body, headers, _webhook_secrets()) is None:",
        ("tests/functions/test_forgeries.py::test_forged_webhook_costs_one_hmac_and_nothing_else",),
    ),
    Bug(
        "a body is parsed before its signature is checked",
        "7",
        WEBHOOK,
        "    body = http.raw_body(event)\n",
        "    body = http.raw_body(event)\n    http.parse(Notification, body)\n",
        ("tests/functions/test_forgeries.py::test_forged_webhook_costs_one_hmac_and_nothing_else",),
    ),
    Bug(
        "a base64 body is checked as the letters that it came in",
        "1; stripe-node #356, aws/chalice #2",
        HTTP,
        '    if not event.get("isBase64Encoded"):',
        '    if "isBase64Encoded" in event:',
        ("tests/functions/test_webhook.py::test_signature_covers_the_bytes_as_sent",),
    ),
    Bug(
        "a webhook that could not be stored is answered 200",
        "1; statamic-cargo #190",
        WEBHOOK,
        '        raise NotDeferred("Send this webhook again.", retry_after=60) from None',
        '        return "deferred"',
        ("tests/functions/test_webhook.py::test_webhook_that_cannot_be_deferred_is_answered_503",),
    ),
    Bug(
        "the unsigned callback makes us ask Chapa at once",
        "7",
        WEBHOOK,
        "        defer(bounded, find(bounded, tx_ref), bounded.settings.verify_every_seconds)",
        "        settle(bounded, find(bounded, tx_ref), tx_ref)",
        ("tests/functions/test_webhook.py::test_callback_only_schedules_an_early_check",),
    ),
    # Events, queues, logs and responses.
    Bug(
        "an event is unmarked before it is published",
        "5; serverless-coffee #13",
        PUBLISH,
        "            failed = []\n",
        "            failed = []\n"
        "            for origin, _ in group:\n"
        "                self._unmark(origin.key)\n",
        ("tests/functions/test_publish.py::test_first_of_several_refusals_is_reported",),
    ),
    Bug(
        "an event that the bus refused does not come again",
        "5; serverless-coffee #13",
        PUBLISH,
        "                return first.sequence_number",
        "                continue",
        (
            "tests/functions/test_publish.py::test_refused_entry_is_retried_with_all_records_after_it",
        ),
    ),
    Bug(
        "an event that the bus refused counts as published",
        "5",
        "shared/payments/bus.py",
        '        if not answer["FailedEntryCount"]:',
        "        if answer:",
        (
            "tests/functions/test_publish.py::test_refused_entry_is_retried_with_all_records_after_it",
        ),
    ),
    Bug(
        "a message that the queue refused counts as sent",
        "5",
        QUEUE,
        '            failed += len(answer.get("Failed", []))',
        "            failed += 0",
        (
            "tests/functions/test_expire.py::test_order_that_could_not_be_queued_is_due_in_the_next_minute",
        ),
    ),
    Bug(
        "words from outside are logged as they came",
        "8",
        TELEMETRY,
        '    return _PRIVATE.sub("[removed]", text[: 10 * limit])[:limit]',
        "    return text[:limit]",
        (of("telemetry", "test_private_data_is_removed_from_foreign_text"),),
    ),
    Bug(
        "a response repeats what was wrong with the customer's data",
        "8",
        HTTP,
        "include_input=False, include_url=False)",
        "include_url=False) for e in [{**e, 'msg': e['input']}]",
        ("tests/functions/test_checkout.py::test_response_does_not_repeat_what_was_sent",),
    ),
    Bug(
        "a response explains an internal error",
        "8",
        HTTP,
        '            logger.exception("bug")\n            response = _internal()',
        '            logger.exception("bug")\n            response = problem(Internal(repr(event)))',
        (of("http", "test_bug_is_logged_once_and_not_shown"),),
    ),
    Bug(
        "a live key is sent in the clear",
        "8",
        "shared/payments/settings.py",
        '    if not chapa_url.startswith("https://"):',
        "    if not chapa_url:",
        (of("settings", "test_live_key_is_never_sent_without_tls"),),
    ),
    # The template.
    Bug(
        "anybody may open payments",
        "strangers pay and read what they should not",
        TEMPLATE,
        "      RouteKey: POST /payments\n"
        "      AuthorizationType: JWT\n"
        "      AuthorizerId: !Ref JwtAuthorizer\n",
        "      RouteKey: POST /payments\n      AuthorizationType: NONE\n",
        ("tests/test_template.py::test_every_route_leads_to_its_function_behind_its_guard",),
    ),
    Bug(
        "one failing message takes its batch with it",
        "5",
        TEMPLATE,
        "      BatchSize: 5\n      FunctionResponseTypes: [ReportBatchItemFailures]\n",
        "      BatchSize: 5\n",
        ("tests/test_template.py::test_template_has_this_property",),
    ),
    Bug(
        "a failing message is repeated for ever, and no alarm fires",
        "1",
        TEMPLATE,
        "      RedrivePolicy:\n"
        "        deadLetterTargetArn: !GetAtt DeadLetterQueue.Arn\n"
        "        maxReceiveCount: 5\n",
        "",
        ("tests/test_template.py::test_failing_message_goes_to_dlq_and_fires_alarm",),
    ),
    Bug(
        "a message is visible again while its worker still runs",
        "5",
        TEMPLATE,
        "      VisibilityTimeout: 360",
        "      VisibilityTimeout: 30",
        ("tests/test_template.py::test_timeouts_fit_together",),
    ),
    Bug(
        "the sweep does not run",
        "1, 3; woocommerce #22206",
        TEMPLATE,
        "            ScheduleExpression: rate(1 minute)",
        "            ScheduleExpression: rate(1 day)",
        ("tests/test_template.py::test_timeouts_fit_together",),
    ),
    Bug(
        "no alarm fires for a payment in manual review",
        "1",
        TEMPLATE,
        "PaymentReversed, PaymentReview, ",
        "PaymentReversed, ",
        ("tests/test_template.py::test_failing_functions_and_counted_metrics_fire_alarms",),
    ),
    Bug(
        "API Gateway gives up before the function can say why",
        "6",
        TEMPLATE,
        "    Timeout: 29\n",
        "    Timeout: 60\n",
        ("tests/test_template.py::test_timeouts_fit_together",),
    ),
]
