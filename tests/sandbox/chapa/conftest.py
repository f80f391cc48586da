from collections.abc import Iterator

import pytest

from tests.sandbox.chapa.merchant import LocalMerchant


@pytest.fixture
def merchant() -> Iterator[LocalMerchant]:
    merchant = LocalMerchant()
    with merchant.session:
        yield merchant
