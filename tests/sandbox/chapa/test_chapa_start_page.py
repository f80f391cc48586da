from sandbox.chapa.in_process import BASE_URL, session_for
from sandbox.chapa.simulator import Simulator
from tests.sandbox.chapa.merchant import Merchant


def test_start_page_links_to_the_checkout_page_of_each_payment() -> None:
    with session_for(Simulator()) as session:
        assert "no payments yet" in session.get(f"{BASE_URL}/").text
        paths = [Merchant(session).checkout_path(tx_ref) for tx_ref in ("tx-1", "tx-2")]
        page = session.get(f"{BASE_URL}/").text
    assert all(f'href="{path}"' in page for path in paths)
