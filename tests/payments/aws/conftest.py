import pytest

from tests.payments.aws.orders import Store
from tests.shop import Shop


@pytest.fixture
def store(shop: Shop) -> Store:
    return Store(shop)
