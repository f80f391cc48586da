"""Settings of the simulator: switches for contested points of Chapa's APIs, and a few numbers.

The first value of a switch is its default. `README.md` says what each value means.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Switches(BaseModel):
    """One field for each contested point of v1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verify_unpaid: Literal["404", "404_null_string", "pending", "400", "200_null"] = "404"
    verify_unknown: Literal["not_found", "invalid_reference"] = "not_found"
    verify_cancelled: Literal["failed_word", "unpaid"] = "failed_word"
    verify_refunded: Literal["refunded", "success"] = "refunded"
    verify_amounts: Literal["number", "string", "commas"] = "number"
    verify_amount: Literal["requested", "less_charge"] = "requested"
    verify_case: Literal["documented", "other"] = "documented"
    verify_message: Literal["details", "fetched"] = "details"
    verify_meta: Literal["echoed", "dropped"] = "echoed"
    top_level_status: Literal["payment", "call"] = "payment"
    failed_word: Literal["failed/cancelled", "failed"] = "failed/cancelled"
    validation: Literal["strict", "off"] = "strict"
    email: Literal["optional", "required", "refused"] = "optional"
    phone: Literal["local", "international", "refused"] = "local"
    duplicate_tx_ref: Literal["both_modes", "per_mode"] = "both_modes"
    refusals: Literal["400", "200"] = "400"
    cancel_answer: Literal["message", "empty"] = "message"
    cancel_inactive: Literal["400", "404", "405", "409", "410", "422"] = "400"
    get_with_body: Literal["accepted", "html"] = "accepted"
    webhook_body: Literal["php", "utf8"] = "php"
    webhook_shape: Literal[
        "flat", "wrapped", "trx_ref", "merchant_reference", "payment_event", "no_event"
    ] = "flat"
    webhook_signature: Literal["both", "constant_only", "wrong_payload", "custom"] = "both"
    signing_key: Literal["webhook_secret", "api_key"] = "webhook_secret"
    webhook_ack: Literal["200", "2xx"] = "200"
    failed_event: Literal["sent", "none"] = "sent"
    cancel_event: Literal["sent", "none"] = "sent"
    refund_event: Literal["charge", "refund", "none"] = "charge"
    callback: Literal["query", "json", "tx_ref_name", "none"] = "query"
    callback_on_failure: Literal["no", "yes"] = "no"
    return_url: Literal["unchanged", "appended"] = "unchanged"
    refund_path: Literal["either", "reference", "tx_ref"] = "either"
    refund_partial: Literal["allowed", "refused"] = "allowed"
    refund_reference: Literal["once", "replay"] = "once"
    refund_handle: Literal["both", "ref", "ref_id", "number"] = "both"
    refund_code: Literal["200", "201", "202"] = "200"
    refund_ends: Literal["refunded", "reversed"] = "refunded"
    list_order: Literal["newest", "oldest"] = "newest"
    list_tx_ref: Literal["absent", "present"] = "absent"


class SwitchesV2(BaseModel):
    """One field for each contested point of v2."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key_platform: Literal["checked", "ignored"] = "checked"
    create_answer: Literal["url", "chapa_reference", "reference"] = "url"
    checkout_path: Literal["hosted", "payment"] = "hosted"
    expires_at: Literal["present", "absent"] = "present"
    long_reference: Literal["fails", "accepted", "refused"] = "fails"
    odd_reference: Literal["refused", "fails", "accepted"] = "refused"
    amount_type: Literal["integer", "any"] = "integer"
    smallest_amount: Literal["accepted", "refused"] = "accepted"
    phone: Literal["any", "without_plus", "refused"] = "any"
    duplicate_reference: Literal["400", "409"] = "400"
    idempotency_key: Literal["ignored", "replayed", "replayed_or_409"] = "ignored"
    error_details: Literal["null", "fields"] = "null"
    error_message: Literal["text", "object"] = "text"
    validation_code: Literal["400", "422"] = "400"
    verify_by: Literal["both", "chapa_reference", "merchant_reference"] = "both"
    verify_unpaid: Literal["pending", "404"] = "pending"
    verify_unknown: Literal["404", "400", "500"] = "404"
    status_case: Literal["lower", "upper"] = "lower"
    verify_amounts: Literal["number", "string", "decimal"] = "number"
    verify_amount: Literal["requested", "less_fee"] = "requested"
    verify_reference: Literal["sent", "empty_while_pending", "misspelt"] = "sent"
    verify_mode: Literal["absent", "present", "wrong"] = "absent"
    after_failure: Literal["open", "closed"] = "open"
    link_end: Literal["incomplete", "cancelled", "pending", "payable"] = "incomplete"
    list_by_reference: Literal["attempted", "always", "never"] = "attempted"
    list_pages: Literal["cursor", "page"] = "cursor"
    list_filters: Literal["applied", "ignored"] = "applied"
    refund_list: Literal["present", "absent"] = "present"
    refund_result: Literal["success", "immediate", "failed"] = "success"
    refund_by: Literal["chapa_reference", "merchant_reference"] = "chapa_reference"
    refund_event: Literal["payment", "refund", "none"] = "payment"
    webhook_signature: Literal["payload", "constant", "both_names", "prefixed"] = "payload"
    signing_key: Literal["webhook_secret", "api_key"] = "webhook_secret"
    webhook_amounts: Literal["string", "number", "decimal"] = "string"
    webhook_shape: Literal["flat", "wrapped"] = "flat"
    webhook_body: Literal["utf8", "php"] = "utf8"
    callback: Literal["get", "post", "none"] = "get"
    return_url: Literal["unchanged", "appended", "escaped"] = "unchanged"


class Settings(BaseModel):
    """All values can be changed while the simulator runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    webhook_url: str | None = Field(default=None, pattern=r"^https?://")
    webhook_secret: str | None = Field(default=None, min_length=1, repr=False)
    webhook_secret_v2: str | None = Field(default=None, min_length=1, repr=False)
    """Signs the webhooks of v2; without it `webhook_secret` does."""
    retry_seconds: float = Field(default=600, gt=0, allow_inf_nan=False)
    webhook_attempts: int = Field(default=10, ge=1)
    send_timeout: float = Field(default=10, gt=0, le=60)
    link_minutes: float = Field(default=60, gt=0, le=60)
    refund_checks: int = Field(default=2, ge=0)
    """The number of the check that finds a refund final; 0: only the control API moves it."""
    switches: Switches = Switches()
    switches_v2: SwitchesV2 = SwitchesV2()

    @model_validator(mode="after")
    def _webhooks_can_be_signed(self) -> Self:
        if self.webhook_url and not self.webhook_secret:
            raise ValueError("webhook_url needs a webhook_secret to sign with")
        return self

    @property
    def secrets(self) -> list[str]:
        return [secret for secret in (self.webhook_secret, self.webhook_secret_v2) if secret]

    def changed(self, changes: dict[str, Any]) -> Self:
        """A copy with some values replaced; switches that are not given keep their values."""
        merged = {**self.model_dump(), **changes}
        for name in ("switches", "switches_v2"):
            if isinstance(changes.get(name), dict):
                merged[name] = {**getattr(self, name).model_dump(), **changes[name]}
        return type(self).model_validate(merged)

    def shown(self) -> dict[str, Any]:
        """The settings without the secrets; `…_is_set` replaces each."""
        shown = self.model_dump(exclude={"webhook_secret", "webhook_secret_v2"})
        shown["webhook_secret_is_set"] = self.webhook_secret is not None
        shown["webhook_secret_v2_is_set"] = self.webhook_secret_v2 is not None
        return shown
