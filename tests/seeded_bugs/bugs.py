"""Bugs that were made elsewhere, or could be made here; none of them may go unnoticed.

Each is a piece of the source as it is, and what somebody might write instead. `python -m
tests.seeded_bugs` plants them one at a time.
"""

from typing import NamedTuple


class Bug(NamedTuple):
    what: str
    breaks: str
    """Promises of the README by their numbers, and who was hurt by the same."""
    path: str
    old: str
    """Found once in the file."""
    new: str
    caught_by: tuple[str, ...]
    """What pytest is asked to run; of each at least one test must fail."""


DOMAIN = "shared/payments/domain.py"
STATES = "shared/payments/states.py"
STORY = "shared/payments/story.py"
REPOSITORY = "shared/payments/repository.py"
BACKEND = "shared/payments/backend.py"
SETTLE = "shared/payments/settle.py"
INITIALIZE = "shared/payments/initialize.py"
RECONCILE = "shared/payments/reconcile.py"
CANCEL = "shared/payments/cancel.py"
REFUNDS = "shared/payments/refunds.py"
CHECKOUT = "shared/payments/checkout.py"
SIGNATURE = "shared/payments/signature.py"
CHAPA = "shared/payments/chapa.py"
PUBLISH = "shared/payments/publish.py"
QUEUE = "shared/payments/queue.py"
HTTP = "shared/payments/http.py"
TELEMETRY = "shared/payments/telemetry.py"
WEBHOOK = "functions/webhook/app.py"
TEMPLATE = "template.yaml"


def at_once(scene: str) -> str:
    """For what only happens when two meet: the schedules of a scene that the usual suite draws."""
    return f"tests/search/interleavings -k {scene}"


def of(module: str, test: str) -> str:
    return f"tests/payments/test_{module}.py::{test}"


BUGS = [
    # What Chapa says, and what it means.
    *(
        Bug(
            f"the {what} of a success is not compared with ours",
            "4; laravel-paystack #76, omise-woocommerce #161",
            DOMAIN,
            f'        "{what}": {ours},\n',
            "",
            (
                of(
                    "domain",
                    "TestDecide::test_success_with_wrong_facts_goes_to_review",
                ),
            ),
        )
        for what, ours in {
            "tx_ref": "payment.tx_ref",
            "amount": "payment.amount",
            "currency": "payment.currency",
        }.items()
    ),
    Bug(
        "money paid with a test key pays a live order",
        "4",
        DOMAIN,
        '        "mode": mode,\n',
        "",
        ("tests/functions/test_forgeries.py::test_payment_of_the_other_mode_goes_to_review",),
    ),
    Bug(
        "a success without Chapa's reference counts, and can never be refunded",
        "1",
        DOMAIN,
        "    if not said.reference:",
        "    if False:",
        (
            of(
                "domain",
                "TestDecide::test_success_with_wrong_facts_goes_to_review",
            ),
        ),
    ),
    Bug(
        "a success counts only while the payment is open: what is paid late is kept in silence",
        "1; woocommerce-gateway-stripe #5703, hyperswitch #2017",
        DOMAIN,
        "        case Said.PAID if payment.status in UNPAID:",
        "        case Said.PAID if payment.status in OPEN:",
        (
            of("settle", "TestLateSuccess::test_it_is_found_when_its_webhook_was_lost"),
            at_once("expired_and_paid"),
        ),
    ),
    Bug(
        "a second success of a paid order is noted, and nobody owes it back",
        "1",
        DOMAIN,
        "    return Decision(request_refund(after, refund, now), Outcome.APPLIED)",
        "    return Decision(after, Outcome.APPLIED)",
        (
            of("settle", "test_second_payment_of_a_paid_order_is_owed_back"),
            at_once("replaced_and_paid_twice"),
        ),
    ),
    Bug(
        "a late success revives its order whatever the operator's policy is",
        "1; big-neon/bn-api #1189",
        DOMAIN,
        '        and rules.late_success == "reserve"\n',
        "",
        (of("settle", "TestLateSuccess::test_policy_decides"),),
    ),
    Bug(
        "a failure that is told late overwrites a success",
        "1, 5; django-payments #491, mirakl-hyperwallet #35",
        DOMAIN,
        "        case Said.FAILED if payment.status in {PaymentStatus.INITIALIZING, PaymentStatus.PENDING}:",
        "        case Said.FAILED:",
        (of("domain", "TestDecide::test_settled_payment_changes_only_when_its_money_goes_back"),),
    ),
    Bug(
        "the tables let a success become a failure",
        "1, 5; django-payments #491",
        STATES,
        "    _P.SUCCEEDED: frozenset({_P.REFUNDED, _P.REVERSED}),",
        "    _P.SUCCEEDED: frozenset({_P.REFUNDED, _P.REVERSED, _P.FAILED}),",
        ("tests/payments/test_states.py::test_success_never_becomes_unpaid",),
    ),
    Bug(
        "a failure is final: what the customer pays on the same page after it is not taken",
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
        "the 404 of a proxy is taken as Chapa's: not paid",
        "6; chobbledotcom/tickets #2106",
        CHAPA,
        '            raise ProviderFailed(f"HTTP {reply.status_code} without an envelope") from None',
        "            return reply, Envelope(message=None)",
        (of("chapa", "test_verify_without_a_usable_answer_is_unknown"),),
    ),
    Bug(
        "a word that Chapa never used before means: failed",
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
        "a fraction of a santim is rounded away",
        "4",
        "shared/payments/money.py",
        "    return int(minor) if minor == minor.to_integral_value() else None",
        "    return int(minor)",
        (of("money", "test_fraction_of_a_minor_unit_is_not_an_amount"),),
    ),
    Bug(
        "a success whose facts cannot be read counts as an answer",
        "4, 6",
        CHAPA,
        "        if said is Said.PAID and None in facts:",
        "        if False:",
        (of("chapa", "test_success_without_readable_facts_is_unknown"),),
    ),
    Bug(
        "a cancel that Chapa answered with 500 counts as shut",
        "3, 6; Sylius/PayumStripePlugin #70",
        CHAPA,
        '            logger.warning("cancel unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return False",
        '            logger.warning("cancel unanswered", tx_ref=tx_ref, reason=error.reason)\n'
        "            return True",
        (of("reconcile", "test_order_does_not_expire_while_chapa_is_unreachable"),),
    ),
    Bug(
        "a POST is sent again by itself after an error",
        "5; medusa #16681",
        CHAPA,
        '            allowed_methods={"GET"},',
        "            allowed_methods=None,",
        (of("chapa", "test_initialize_cancel_and_refund_are_sent_exactly_once"),),
    ),
    Bug(
        "a read timeout is taken as: nothing happened",
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
        "a customer is sent to whatever page the answer names",
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
    # What may follow what.
    Bug(
        "the code may make a move that the tables do not have",
        "1, 5",
        STORY,
        "                _check(PAYMENT_MOVES, payment.status, changed.status)\n",
        "",
        (of("domain", "test_transition_that_the_tables_lack_is_an_error"),),
    ),
    Bug(
        "a payment is shut without a lease, under the hands of whoever else is at it",
        "5",
        STATES,
        "    _P.PENDING: _VERIFIED | {_P.FAILED, _P.CLOSING},",
        "    _P.PENDING: _VERIFIED | {_P.FAILED, _P.CLOSING, _P.CLOSED},",
        ("tests/payments/test_states.py::test_opened_payment_is_closed_only_under_a_lease",),
    ),
    Bug(
        "stock comes back twice over",
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
            at_once("expired_and_paid"),
        ),
    ),
    Bug(
        "an order expires while a payment of it can still be paid",
        "1, 3; saleor #14733",
        DOMAIN,
        "        or story.open_payments\n        or story.in_review\n",
        "        or story.in_review\n",
        (of("domain", "TestClose::test_order_does_not_expire_while_a_payment_may_succeed"),),
    ),
    Bug(
        "an order expires while a person looks into its payment",
        "1, 3",
        DOMAIN,
        "        or story.open_payments\n        or story.in_review\n",
        "        or story.open_payments\n",
        (
            of(
                "settle",
                "test_payment_of_a_wrong_amount_goes_to_review_and_its_order_stays_pending",
            ),
        ),
    ),
    Bug(
        "an order that is not due yet is ended",
        "3",
        DOMAIN,
        "        or not over\n",
        "",
        (of("domain", "TestClose::test_order_does_not_expire_early_or_twice"),),
    ),
    Bug(
        "an order past its time can be paid until the sweep comes",
        "3; saleor #12652",
        DOMAIN,
        "        and now < order.expires_at\n",
        "",
        (of("reconcile", "test_no_payment_begins_while_the_order_is_being_closed"),),
    ),
    Bug(
        "a new payment begins while the order is being cancelled",
        "3, 4",
        DOMAIN,
        "        and not order.cancelling\n",
        "",
        (of("cancel", "test_worker_completes_the_cancellation_if_chapa_is_unreachable"),),
    ),
    Bug(
        "two close one payment: the lease of whoever is at it is not respected",
        "5",
        DOMAIN,
        "        if now >= p.lease_until\n        and (over",
        "        if (over",
        (of("domain", "TestClose::test_leased_payment_is_not_closed_even_after_expiry"),),
    ),
    Bug(
        "a payment that was settled while it was being shut is closed all the same",
        "1, 5",
        DOMAIN,
        "        if payment is not None and payment.status is PaymentStatus.CLOSING:\n"
        "            story = _shut(story, payment, reason, now)",
        "        if payment is not None:\n            story = _shut(story, payment, reason, now)",
        (
            of(
                "domain",
                "TestClose::test_payment_that_was_settled_meanwhile_is_neither_closed_nor_let_go",
            ),
            at_once("paid_and_overdue"),
        ),
    ),
    Bug(
        "a late answer of initialize opens a payment that was shut meanwhile",
        "4, 5",
        DOMAIN,
        "    if payment is None or payment.status is not PaymentStatus.INITIALIZING:\n"
        "        return story\n"
        "    after = story.with_payment(\n"
        "        tx_ref, status=PaymentStatus.PENDING",
        "    if payment is None:\n"
        "        return story\n"
        "    after = story.with_payment(\n"
        "        tx_ref, status=PaymentStatus.PENDING",
        (of("domain", "TestInitialize::test_late_answer_of_initialize_changes_nothing"),),
    ),
    # When to look again.
    Bug(
        "nobody looks again at what was closed: a success whose webhook was lost is nobody's",
        "1",
        DOMAIN,
        "    if story.unpaid and order.looks < len(rules.last_look_after):",
        "    if story.open_payments and order.looks < len(rules.last_look_after):",
        (
            of("settle", "TestLateSuccess::test_it_is_found_when_its_webhook_was_lost"),
            at_once("overdue"),
        ),
    ),
    Bug(
        "a last look that Chapa did not answer was the last",
        "1, 6",
        DOMAIN,
        "    counts = not last or not (unknown or asked_for)",
        "    counts = not last or not asked_for",
        (of("domain", "TestSchedule::test_unanswered_final_check_does_not_count"),),
    ),
    Bug(
        "a look at which nobody was asked counts as an answer",
        "1, 6",
        RECONCILE,
        "    if Outcome.NOT_ASKED in outcomes and not unknown:",
        "    if False:",
        (of("reconcile", "test_unanswered_final_checks_do_not_count"),),
    ),
    Bug(
        "whoever writes at the same moment puts off what a webhook brought forward",
        "5",
        DOMAIN,
        "    times = [at for at in (due_at(after, now, rules), nudge) if at is not None]",
        "    times = [at for at in (due_at(after, now, rules),) if at is not None]",
        (of("domain", "TestSchedule::test_early_check_survives_a_concurrent_write"),),
    ),
    Bug(
        "a provider that is silent for ever is asked for ever, and no person hears of it",
        "1",
        DOMAIN,
        "    since = (order.unknown_since or now) if unknown else None",
        "    since = now if unknown else None",
        (
            of(
                "reconcile",
                "test_payment_unanswered_for_a_day_goes_to_review_and_can_still_succeed",
            ),
        ),
    ),
    Bug(
        "a look that found nothing is not counted, and the next one comes in a minute, always",
        "a silent provider is asked ever more often",
        RECONCILE,
        "    if story.order.version == found:",
        "    if False:",
        (of("reconcile", "test_unanswered_final_checks_do_not_come_every_minute"),),
    ),
    Bug(
        "a message that came twice looks twice",
        "5",
        RECONCILE,
        "    if due is None or due > backend.now + CLOCKS_DIFFER_SECONDS:",
        "    if due is None:",
        ("tests/functions/test_reconcile.py::test_repeated_message_checks_the_payment_once",),
    ),
    # The conditions of every write.
    Bug(
        "an order is written whoever wrote it since it was read",
        "2, 3, 9; django-payments #491, module-integration #85",
        REPOSITORY,
        '{"version": [before.version]}',
        '{"order_id": [before.order_id]}',
        (of("repository", "test_write_after_a_concurrent_write_is_stale"),),
    ),
    Bug(
        "the table does not know which order may end how",
        "3, 9",
        REPOSITORY,
        '            conditions["status"] = sources(ORDER_MOVES, after.status)',
        "            pass",
        (of("repository", "test_table_refuses_to_end_an_order_twice"),),
    ),
    Bug(
        "the table does not know what may follow the status of a payment",
        "1, 9",
        REPOSITORY,
        "                froms = sources(PAYMENT_MOVES, payment.status) if moved else [old.status]\n"
        '                yield self._update(key, _item(old), _item(payment), {"status": froms})',
        '                yield self._update(key, _item(old), _item(payment), {"tx_ref": [payment.tx_ref]})',
        (of("repository", "test_table_refuses_an_illegal_payment_status"),),
    ),
    Bug(
        "the table does not know what may follow the status of a refund",
        "1, 9",
        REPOSITORY,
        "                froms = sources(REFUND_MOVES, refund.status) if moved else [old.status]\n"
        '                yield self._update(key, _item(old), _item(refund), {"status": froms})',
        '                yield self._update(key, _item(old), _item(refund), {"tx_ref": [refund.tx_ref]})',
        (of("repository", "test_table_refuses_to_refund_twice"),),
    ),
    Bug(
        "what is new overwrites what is there: a repeated order takes its stock again",
        "3, 5, 9; aws-samples ecommerce #180",
        REPOSITORY,
        '"ConditionExpression": "attribute_not_exists(pk)"',
        '"ConditionExpression": "attribute_not_exists(nothing)"',
        (
            of("repository", "test_order_is_placed_once"),
            of("checkout", "TestIdempotencyKey::test_concurrent_request_returns_the_first_order"),
        ),
    ),
    Bug(
        "stock is taken that is not there",
        "3, 9; vendure #3065",
        REPOSITORY,
        'f"{name} >= :{name}_taken"',
        'f"({name} >= :{name}_taken OR attribute_exists(pk))"',
        (
            of("repository", "test_order_takes_only_available_stock"),
            of("checkout", "test_last_unit_is_sold_once"),
            at_once("expired_and_paid"),
        ),
    ),
    Bug(
        "an order is placed at a price that changed meanwhile",
        "9",
        REPOSITORY,
        '"unit_price = :price AND currency = :currency"',
        '"(unit_price = :price OR attribute_exists(pk)) AND currency = :currency"',
        (of("repository", "test_order_with_an_outdated_price_is_stale"),),
    ),
    Bug(
        "an order is placed in a currency that changed meanwhile",
        "9",
        REPOSITORY,
        '"unit_price = :price AND currency = :currency"',
        '"unit_price = :price AND (currency = :currency OR attribute_exists(pk))"',
        (of("repository", "test_order_with_an_outdated_price_is_stale"),),
    ),
    Bug(
        "everybody may ask Chapa about a payment, as often as they like",
        "a thousand copies of a webhook are a thousand questions",
        REPOSITORY,
        "(attribute_not_exists(looked_at) OR looked_at <= :then)",
        "(attribute_not_exists(looked_at) OR looked_at <= :then OR attribute_exists(pk))",
        (
            of("repository", "TestClaim::test_verify_is_claimed_once_in_three_seconds"),
            of("settle", "test_many_webhooks_cause_one_verify_in_three_seconds"),
        ),
    ),
    Bug(
        "a look at a payment that is not there makes half a payment",
        "9",
        REPOSITORY,
        '            ConditionExpression="attribute_exists(pk) AND "\n',
        '            ConditionExpression=""\n',
        (of("repository", "TestClaim::test_unknown_payment_cannot_be_claimed"),),
    ),
    Bug(
        "an event that is published is sent down the stream again",
        "5, 9; aws-samples airline-booking #167",
        REPOSITORY,
        '"attribute_exists(due_shard) AND due_at <= :now"',
        '"attribute_not_exists(due_at) OR due_at <= :now"',
        (of("repository", "TestEvents::test_published_event_is_never_overdue"),),
    ),
    Bug(
        "two sweeps send the same event again, and again",
        "9",
        REPOSITORY,
        '"attribute_exists(due_shard) AND due_at <= :now"',
        '"attribute_exists(due_shard) AND (due_at <= :now OR attribute_exists(pk))"',
        (of("repository", "TestEvents::test_only_one_of_two_sweeps_touches_an_event"),),
    ),
    Bug(
        "unmarking an event that is gone makes a ghost of it",
        "9",
        REPOSITORY,
        '            ConditionExpression="attribute_exists(due_shard)",',
        '            ConditionExpression="attribute_exists(pk) OR attribute_not_exists(pk)",',
        (of("repository", "TestEvents::test_published_event_is_never_overdue"),),
    ),
    Bug(
        "an order is read as it was a moment ago",
        "2, 5",
        REPOSITORY,
        "            ConsistentRead=True,",
        "            ConsistentRead=False,",
        (of("repository", "test_order_is_read_consistently_and_without_its_event_log"),),
    ),
    Bug(
        "the order moves and its stock does not",
        "2, 3",
        REPOSITORY,
        "            *self._stock_writes(before, order),\n",
        "",
        (of("repository", "test_stock_moves_with_the_order"), at_once("unbegun")),
    ),
    Bug(
        "the ledger is not written with what it tells of",
        "2; serverless-coffee #13",
        REPOSITORY,
        "            *self._event_writes(after),\n",
        "",
        (of("repository", "test_events_are_numbered_without_a_gap"),),
    ),
    Bug(
        "a transaction that met another is an error for the customer",
        "5",
        REPOSITORY,
        'PASSING = {None, "None", "TransactionConflict", ',
        'PASSING = {None, "None", ',
        (of("repository", "TestConflicts::test_conflicting_transaction_is_tried_again"),),
    ),
    Bug(
        "an order that is due is not in the index, and no sweep finds it",
        "1, 3",
        REPOSITORY,
        '        item["due_shard"] = _due_shard("DUE", order.order_id)',
        "        pass",
        (of("repository", "TestDue::test_only_due_orders_are_found"),),
    ),
    Bug(
        "a late success of goods that left the catalogue is nobody's",
        "1",
        REPOSITORY,
        "            short.append(sku)",
        '            short.append(stock["sku"])',
        (
            of("settle", "TestLateSuccess::test_it_is_owed_back_when_the_product_was_deleted"),
            of("repository", "test_deleted_product_is_out_of_stock"),
        ),
    ),
    Bug(
        "units that the catalogue lost are waited for as if they were a race",
        "3",
        REPOSITORY,
        '                raise RuntimeError(f"{sku} has not the units that the order holds of it: {stock}")',
        "                raise Stale",
        (of("repository", "test_deleted_product_with_reserved_units_is_an_error"),),
    ),
    # The one way to become paid.
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
        "a webhook that meets another is done before anything was applied",
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
        "whoever lost the race says that it applied what it did not",
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
            at_once("sold_to_another_and_paid"),
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
        "what a webhook brought forward is on the queue only, and lost with it",
        "1, 5",
        SETTLE,
        "            backend.store(story, nudged)\n",
        "            pass\n",
        ("tests/functions/test_webhook.py::test_webhook_that_cannot_be_deferred_is_answered_503",),
    ),
    Bug(
        "an order's next look is not stored with what changed it",
        "1, 3",
        BACKEND,
        "        return self.store(before, domain.scheduled(before, after, self.now, self.rules))",
        "        return self.store(before, after)",
        (of("reconcile", "test_payment_whose_webhook_was_lost_is_found"), at_once("waiting")),
    ),
    Bug(
        "everybody may see and pay everybody's orders",
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
        "everybody may see everybody's payments",
        "strangers read what they should not",
        "functions/status/app.py",
        "    if story.order.user_id != user_id:",
        "    if not user_id:",
        ("tests/functions/test_status.py::test_order_and_payment_of_another_user_are_not_found",),
    ),
    # Beginning a payment.
    Bug(
        "Chapa hears of a payment that is not written yet",
        "1, 5; statamic-cargo #190",
        INITIALIZE,
        "story = backend.save(story, domain.begin(story, tx_ref, backend.now, backend.rules))",
        "story = domain.begin(story, tx_ref, backend.now, backend.rules)",
        (of("initialize", "test_payment_is_written_before_chapa_is_called"),),
    ),
    Bug(
        "a second click shuts the payment that the first one is opening",
        "5",
        INITIALIZE,
        "            if live.lease_until > backend.now:",
        "            if live.lease_until > backend.now + 3600:",
        (of("initialize", "TestConcurrentRequests::test_second_request_waits_for_the_first"),),
    ),
    Bug(
        "a page is handed out though its payment was settled or shut while it was opened",
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
        "what Chapa may have opened is forgotten, and another is begun beside it",
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
        "a payment whose page was lost is replaced before it is shut",
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
    # Shutting, expiring, cancelling.
    Bug(
        "the stock goes back before the page is shut",
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
        "nobody asks again after the page was shut",
        "1, 3; woocommerce-gateway-stripe #5810",
        RECONCILE,
        "apply(backend, story, tx_ref, backend.chapa.verify(tx_ref, backend.time_left))",
        "apply(backend, story, tx_ref, domain.Verification(domain.Said.OPEN))",
        (of("reconcile", "test_payment_between_verify_and_cancel_pays_the_order"),),
    ),
    Bug(
        "a payment is closed though Chapa did not say that it is unpaid",
        "1, 6",
        RECONCILE,
        "        if cancelled and decision.outcome is not Outcome.UNKNOWN:",
        "        if cancelled:",
        (of("cancel", "test_worker_completes_the_cancellation_if_chapa_is_unreachable"),),
    ),
    Bug(
        "a payment is closed though Chapa did not say that it is shut",
        "3, 6",
        RECONCILE,
        "        if cancelled and decision.outcome is not Outcome.UNKNOWN:",
        "        if decision.outcome is not Outcome.UNKNOWN:",
        (of("cancel", "test_worker_completes_the_cancellation_if_chapa_is_unreachable"),),
    ),
    Bug(
        "a customer is told that an order was cancelled which is paid",
        "4",
        CANCEL,
        "    if story.order.status in {OrderStatus.PAID, OrderStatus.REFUNDED}:",
        "    if story.order.status is OrderStatus.REFUNDED:",
        (of("cancel", "test_order_whose_payment_succeeded_is_paid"),),
    ),
    Bug(
        "the worker never hears of an order that could not be cancelled at once",
        "3",
        CANCEL,
        "        defer(backend, story, backend.settings.verify_every_seconds)\n",
        "",
        (of("cancel", "test_worker_completes_the_cancellation_if_chapa_is_unreachable"),),
    ),
    Bug(
        "one order that cannot be looked at is taken for done",
        "1, 5",
        "functions/reconcile/app.py",
        '            failures.append({"itemIdentifier": record["messageId"]})',
        "            pass",
        ("tests/functions/test_reconcile.py::test_failing_message_does_not_delay_the_others",),
    ),
    # Paying back.
    Bug(
        "refunds are held against what was paid, and not against what is left of it",
        "1; hyperswitch #13182",
        DOMAIN,
        "    return (payment.paid_amount or 0) - promised",
        "    return payment.paid_amount or 0",
        (
            of("refunds", "TestByAnOperator::test_concurrent_refunds_never_exceed_what_was_paid"),
            at_once("applied"),
        ),
    ),
    Bug(
        "the domain owes back more than was paid, if only it is asked to",
        "1; hyperswitch #13182",
        DOMAIN,
        "    if refund.amount > refundable(story, refund.tx_ref):",
        "    if False:",
        (of("domain", "TestRefunds::test_refunds_never_exceed_what_was_paid"),),
    ),
    Bug(
        "each try of a refund has a reference of its own",
        "1; medusa #16681",
        CHAPA,
        '                "reference": refund.reference,',
        '                "reference": f"{refund.reference}-{refund.tries}",',
        (
            of(
                "refunds",
                "TestUnappliedPayment::test_unanswered_refund_is_sent_again_under_the_same_reference",
            ),
            at_once("applied_and_refunding"),
        ),
    ),
    Bug(
        "the same decision typed twice refunds twice",
        "1; medusa #16292",
        REFUNDS,
        'hashlib.sha256(f"{tx_ref} {key}".encode())',
        'hashlib.sha256(f"{tx_ref} {key} {len(story.refunds)}".encode())',
        (of("refunds", "TestByAnOperator::test_same_key_twice_is_one_refund"),),
    ),
    Bug(
        "Chapa is asked for a refund before that is written",
        "1, 5",
        REFUNDS,
        "        story = backend.save(story, domain.try_refund(story, reference, backend.now, backend.rules))",
        "        pass",
        (of("refunds", "TestUnappliedPayment::test_it_is_refunded_without_an_operator"),),
    ),
    Bug(
        "a refund whose answer was lost is sent again without looking",
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
        "a refund that may have arrived counts as refused",
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
        "what Chapa reversed is paid back as well",
        "1; VivaPayments #2486",
        DOMAIN,
        "            story = refund_review(story, refund.reference, reason, now)\n"
        '    after = story.tell("payment.reversed"',
        '            pass\n    after = story.tell("payment.reversed"',
        (of("refunds", "TestProviderEvents::test_reversed_payment_is_not_refunded_as_well"),),
    ),
    Bug(
        "a refund in part ends its order",
        "4",
        DOMAIN,
        "    if payment is None or sum(r.amount for r in back) < (payment.paid_amount or 0):",
        "    if payment is None:",
        (of("refunds", "TestByAnOperator::test_partial_refund_leaves_the_order_paid"),),
    ),
    Bug(
        "a refund puts goods on the shelf that the customer still has",
        "3",
        DOMAIN,
        "    stock = StockStatus.RELEASED if return_stock else after.order.stock",
        "    stock = StockStatus.RELEASED",
        (
            of(
                "refunds",
                "TestByAnOperator::test_full_refund_moves_the_order_and_stock_only_if_asked",
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
    Bug(
        "nobody hears of a reversal about which Chapa is silent for days",
        "1",
        DOMAIN,
        '        return after.tell("order.unanswered", now)',
        "        return after",
        (
            of(
                "refunds",
                "TestProviderEvents::test_unanswered_possible_reversal_is_reported_daily",
            ),
        ),
    ),
    Bug(
        "whoever was called once is called again every hour",
        "1",
        DOMAIN,
        "    after = after.with_order(unknown_since=now)\n",
        "",
        (
            of(
                "domain",
                "TestSchedule::test_unanswered_order_without_open_payment_is_reported_daily",
            ),
        ),
    ),
    # Placing an order.
    Bug(
        "another request under the same key finds the first one's order",
        "5",
        CHECKOUT,
        "known.order.request_hash != request_hash",
        "not request_hash",
        (of("checkout", "TestIdempotencyKey::test_other_content_under_the_same_key_is_refused"),),
    ),
    Bug(
        "one customer's key finds another customer's order",
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
    # Who may knock.
    Bug(
        "the constant that Chapa documents counts as a signature",
        "7",
        SIGNATURE,
        "            genuine |= hmac.compare_digest(claim, expected)",
        "            genuine |= claim in {expected, sign(secret.encode(), secret).encode()}",
        ("tests/payments/test_signature.py::test_constant_is_not_a_signature",),
    ),
    Bug(
        "the beginning of a signature is enough",
        "7",
        SIGNATURE,
        "hmac.compare_digest(claim, expected)",
        "hmac.compare_digest(claim[:8], expected[:8])",
        ("tests/payments/test_signature.py::test_malformed_signature_is_refused_without_an_error",),
    ),
    Bug(
        "an empty secret signs whatever anybody likes",
        "7",
        SIGNATURE,
        "        if not secret:\n            continue\n",
        "",
        ("tests/payments/test_signature.py::test_empty_or_missing_secret_accepts_nothing",),
    ),
    Bug(
        "signatures are compared so that the clock gives them away",
        "7",
        SIGNATURE,
        "hmac.compare_digest(claim, expected)",
        "claim == expected",
        (
            "tests/functions/test_forgeries.py::test_signature_check_takes_the_same_time_for_each_secret",
        ),
    ),
    Bug(
        "while a secret is rotated the previous one is refused",
        "1",
        SIGNATURE,
        "    for secret in secrets:",
        "    for secret in [*secrets][:1]:",
        ("tests/payments/test_signature.py::test_current_and_previous_secret_are_both_accepted",),
    ),
    Bug(
        "a header of another name counts",
        "7",
        SIGNATURE,
        'HEADERS = ("x-chapa-signature", "chapa-signature")',
        'HEADERS = ("x-chapa-signature", "chapa-signature", "signature")',
        ("tests/payments/test_signature.py::test_request_without_a_header_of_chapa_is_refused",),
    ),
    Bug(
        "the webhook is open to everybody",
        "7",
        WEBHOOK,
        "    if not signature.verify(body, headers, _webhook_secrets()):",
        "    if signature.verify(body, headers, _webhook_secrets()) is None:",
        ("tests/functions/test_forgeries.py::test_forged_webhook_costs_one_hmac_and_nothing_else",),
    ),
    Bug(
        "a body is parsed before anybody knows who sent it",
        "7",
        WEBHOOK,
        "    body = http.raw_body(event)\n",
        "    body = http.raw_body(event)\n    http.parse(Notification, body)\n",
        ("tests/functions/test_forgeries.py::test_forged_webhook_costs_one_hmac_and_nothing_else",),
    ),
    Bug(
        "a body in base64 is checked as the letters that it came in",
        "1; stripe-node #356, aws/chalice #2",
        HTTP,
        '    if not event.get("isBase64Encoded"):',
        '    if "isBase64Encoded" in event:',
        ("tests/functions/test_webhook.py::test_signature_covers_the_bytes_as_sent",),
    ),
    Bug(
        "a webhook that nobody could take in is answered with 200",
        "1; statamic-cargo #190",
        WEBHOOK,
        '        raise NotDeferred("Send this webhook again.", retry_after=60) from None',
        '        return "deferred"',
        ("tests/functions/test_webhook.py::test_webhook_that_cannot_be_deferred_is_answered_503",),
    ),
    Bug(
        "anybody may make us ask Chapa at once",
        "7",
        WEBHOOK,
        "        defer(bounded, find(bounded, tx_ref), bounded.settings.verify_every_seconds)",
        "        settle(bounded, find(bounded, tx_ref), tx_ref)",
        ("tests/functions/test_webhook.py::test_callback_only_schedules_an_early_check",),
    ),
    # Telling others, and telling nobody.
    Bug(
        "an event is known to be published before it is",
        "5; serverless-coffee #13",
        PUBLISH,
        "            failed = []\n",
        "            failed = []\n"
        "            for origin, _ in group:\n"
        "                self._unmark(origin.key)\n",
        ("tests/functions/test_publish.py::test_first_of_several_refusals_is_reported",),
    ),
    Bug(
        "what the bus refused does not come again",
        "5; serverless-coffee #13",
        PUBLISH,
        "                return first.sequence_number",
        "                continue",
        (
            "tests/functions/test_publish.py::test_refused_entry_is_retried_with_all_records_after_it",
        ),
    ),
    Bug(
        "what the bus refused counts as told",
        "5",
        "shared/payments/bus.py",
        '        if not answer["FailedEntryCount"]:',
        "        if answer:",
        (
            "tests/functions/test_publish.py::test_refused_entry_is_retried_with_all_records_after_it",
        ),
    ),
    Bug(
        "what the queue refused counts as sent",
        "5",
        QUEUE,
        '            failed += len(answer.get("Failed", []))',
        "            failed += 0",
        (
            "tests/functions/test_expire.py::test_order_that_could_not_be_queued_is_due_in_the_next_minute",
        ),
    ),
    Bug(
        "the log names the customer of each order",
        "8",
        DOMAIN,
        '        "order.placed", order.created_at, amount=order.amount, currency=order.currency\n',
        '        "order.placed", order.created_at, amount=order.amount, currency=order.currency,\n'
        "        customer=dict(order.customer),\n",
        (
            "tests/functions/test_logs.py::test_logs_hold_no_secret_and_no_customer_data_when_calls_fail",
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
        "an answer repeats what was wrong with the customer's data",
        "8",
        HTTP,
        "include_input=False, include_url=False)",
        "include_url=False) for e in [{**e, 'msg': e['input']}]",
        ("tests/functions/test_checkout.py::test_response_does_not_repeat_what_was_sent",),
    ),
    Bug(
        "a bug is explained to whoever ran into it",
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
    # What is deployed.
    Bug(
        "anybody may begin payments, whoever they are",
        "strangers pay and read what they should not",
        TEMPLATE,
        "      RouteKey: POST /payments\n"
        "      AuthorizationType: JWT\n"
        "      AuthorizerId: !Ref JwtAuthorizer\n",
        "      RouteKey: POST /payments\n      AuthorizationType: NONE\n",
        ("tests/test_template.py::test_every_route_leads_to_its_function_behind_its_guard",),
    ),
    Bug(
        "one bad message takes its batch along",
        "5",
        TEMPLATE,
        "      BatchSize: 5\n      FunctionResponseTypes: [ReportBatchItemFailures]\n",
        "      BatchSize: 5\n",
        ("tests/test_template.py::test_template_has_this_property",),
    ),
    Bug(
        "an order that cannot be reconciled is tried for ever, and nobody hears of it",
        "1",
        TEMPLATE,
        "      RedrivePolicy:\n"
        "        deadLetterTargetArn: !GetAtt DeadLetterQueue.Arn\n"
        "        maxReceiveCount: 5\n",
        "",
        ("tests/test_template.py::test_failing_message_goes_to_dlq_and_fires_alarm",),
    ),
    Bug(
        "a message comes again while its first worker is still at it",
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
        "nobody hears of a payment that waits for a person",
        "1",
        TEMPLATE,
        "PaymentReversed, PaymentReview, ",
        "PaymentReversed, ",
        ("tests/test_template.py::test_failing_functions_and_counted_metrics_fire_alarms",),
    ),
    Bug(
        "the API gives up before its function can say why",
        "6",
        TEMPLATE,
        "    Timeout: 29\n",
        "    Timeout: 60\n",
        ("tests/test_template.py::test_timeouts_fit_together",),
    ),
]
