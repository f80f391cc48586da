"""The page of docs/front-end.js while the identity provider is busy; `journeys` have the rest."""

import shutil
import subprocess

import pytest

from tests.template import ROOT

SCRIPT = """
import { Shop } from "./docs/front-end.js";

const kept = new Map([["tokens", JSON.stringify({ access: "old", refresh: "r", until: 0 })]]);
const storage = {
  getItem: (name) => kept.get(name) ?? null,
  setItem: (name, value) => kept.set(name, value),
  removeItem: (name) => kept.delete(name),
};
const failures = { configuration: 1, token: 1 };
const bodies = {
  configuration: { token_endpoint: "https://issuer/token" },
  token: { access_token: "new", expires_in: 3600 },
  orders: { orders: [{ order_id: "an-order" }] },
};
globalThis.fetch = async (url) => {
  const name = /[a-z]+$/.exec(url)[0];
  const fails = failures[name]-- > 0;
  const answer = fails ? { error: "try later" } : bodies[name];
  return { ok: !fails, status: fails ? STATUS : 200, json: async () => answer };
};
globalThis.setTimeout = (call) => call(); // Without pauses.
const shop = new Shop({ apiUrl: "https://api", issuer: "https://issuer", clientId: "c", storage });
const orders = [];
for await (const order of shop.orders()) orders.push(order.order_id);
console.log(orders.join(), shop.signedIn);
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js runs the example")
@pytest.mark.parametrize("status", [429, 503])
def test_customer_stays_signed_in_while_the_identity_provider_is_busy(status: int) -> None:
    script = SCRIPT.replace("STATUS", str(status))
    ran = subprocess.run(
        ["node", "--input-type=module", "--eval", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("an-order true\n", "")
