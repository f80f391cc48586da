"""The environment of a deployed function, for functions that run inside the tests."""

SETTINGS = {
    "TABLE_NAME": "payments",
    "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/reconcile",
    "SECRET_ID": "chapa",
    "CHAPA_URL": "http://127.0.0.1:1/v1",
    "CHAPA_URL_OTHER": "http://127.0.0.1:1/v2",
    "CHECKOUT_HOSTS": "*",
    "CALLBACK_URL": "https://api.shop.example/webhooks/chapa",
    "RETURN_URL": "https://shop.example/thanks",
    "SHOP_NAME": "Shop",
    "ORDER_TTL_SECONDS": "1800",
    "LEASE_SECONDS": "60",
    "WAIT_SECONDS": "5",
    "LINK_SECONDS": "3600",
    "CHECK_AFTER_SECONDS": "90,120,300,600,1800,3600",
    "FINAL_CHECK_AFTER_SECONDS": "3600,86400",
    "VERIFY_EVERY_SECONDS": "3",
    "UNANSWERED_AFTER_SECONDS": "86400",
    "PENDING_GRACE_SECONDS": "300",
    "HOLD_STOCK_UNTIL_PAGE_EXPIRES": "true",
    "REPUBLISH_AFTER_SECONDS": "3600",
    "MAX_UNPAID_ORDERS": "5",
    "LATE_SUCCESS_POLICY": "reserve",
    "COMPARE_DAYS": "3",
}

PUBLISHER = {"BUS_NAME": "chapa-payments"}
"""Further variables of the publish function."""

PROCESS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "TZ": "UTC",
    "POWERTOOLS_SERVICE_NAME": "tests",
    "POWERTOOLS_METRICS_NAMESPACE": "ChapaPayments",
}

FOREIGN = r"(AWS|POWERTOOLS|MOTO)_.*|LOG_LEVEL|COLUMNS|LINES|(NO|FORCE)_COLOR|.*_PROXY"
"""Variables of the caller that would change what the tests see."""
