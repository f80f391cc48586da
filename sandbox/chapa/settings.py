"""Settings of the simulator: switches for contested points of Chapa's API, and a few numbers.

The first value of a switch is its default. `README.md` says how sure each default is.
"""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Switches(BaseModel):
    """One field for each contested point."""

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


class Settings(BaseModel):
    """All values can be changed while the simulator runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    webhook_url: str | None = Field(default=None, pattern=r"^https?://")
    webhook_secret: str | None = Field(default=None, min_length=1, repr=False)
    retry_seconds: float = Field(default=600, gt=0, allow_inf_nan=False)
    webhook_attempts: int = Field(default=10, ge=1)
    send_timeout: float = Field(default=10, gt=0, le=60)
    link_minutes: float = Field(default=60, gt=0, le=60)
    refund_checks: int = Field(default=2, ge=0)
    """The number of the check that finds a refund final; 0: only the control API moves it."""
    switches: Switches = Switches()

    @model_validator(mode="after")
    def _webhooks_can_be_signed(self) -> Self:
        if self.webhook_url and not self.webhook_secret:
            raise ValueError("webhook_url needs a webhook_secret to sign with")
        return self

    def changed(self, changes: dict[str, Any]) -> Self:
        """A copy with some values replaced; switches that are not given keep their values."""
        merged = {**self.model_dump(), **changes}
        if isinstance(changes.get("switches"), dict):
            merged["switches"] = {**self.switches.model_dump(), **changes["switches"]}
        return type(self).model_validate(merged)

    def shown(self) -> dict[str, Any]:
        """The settings without the secret; `webhook_secret_is_set` replaces it."""
        shown = self.model_dump(exclude={"webhook_secret"})
        shown["webhook_secret_is_set"] = self.webhook_secret is not None
        return shown
