"""Each quarter of an hour at night: go on with the comparison of the books with Chapa's lists."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from payments.errors import ConfigurationError
from payments.telemetry import count, logger, metrics
from payments.usecases.backend import Backend
from payments.usecases.compare import compare_nightly

backend = Backend.from_environment()


@logger.inject_lambda_context(clear_state=True)
@metrics.log_metrics(capture_cold_start_metric=True)
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """`until` of the event, in seconds since the epoch, is for a run by hand."""
    count("ComparisonRuns")
    try:
        compare_nightly(backend.within(context), backend.settings.compare_days, event.get("until"))
    except ConfigurationError as error:
        # A stack without a key has no list to compare with.
        logger.critical("configuration", reason=str(error))
