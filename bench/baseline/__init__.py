"""Initialize and webhook as an experienced developer would first write them.

Sources: docs.powertools.aws.dev/lambda/python/latest, pages `core/event_handler/api_gateway` (data
validation), `utilities/idempotency`, `utilities/parameters`, `core/tracer`, `core/logger`,
`core/metrics`; developer.chapa.co. One table holds orders, one payments, one idempotency.
"""
