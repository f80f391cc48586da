// A customer at docs/front-end.js, with the local sign-in form in place of a browser.
// Settings come from the environment; the last line of output is what the customer saw.

import { Problem, Shop } from "../../docs/front-end.js";

const { API_URL, ISSUER, CLIENT_ID, REDIRECT_URI, USERNAME, PASSWORD, CHAPA, SKU } = process.env;

class Storage extends Map {
  getItem = (name) => this.get(name) ?? null;
  setItem = (name, value) => this.set(name, value);
  removeItem = (name) => this.delete(name);
}

const storage = new Storage();
const shop = new Shop({
  apiUrl: API_URL,
  issuer: ISSUER,
  clientId: CLIENT_ID,
  redirectUri: REDIRECT_URI,
  storage,
});

async function signIn() {
  const url = new URL(await shop.signInUrl());
  const fields = new URLSearchParams(url.search);
  fields.set("username", USERNAME);
  fields.set("password", PASSWORD);
  const target = new URL("/login", url);
  const answer = await fetch(target, { method: "POST", body: fields, redirect: "manual" });
  return answer.headers.get("location");
}

async function code(promise) {
  return promise.then(
    () => "no error",
    (error) => (error instanceof Problem ? (error.code ?? error.status) : error.message),
  );
}

async function all(entries) {
  const found = [];
  for await (const entry of entries) found.push(entry);
  return found;
}

const seen = { signedOut: await code(shop.order([], "key")) };
seen.products = (await all(shop.products())).map((product) => product.sku);

const back = await signIn();
storage.set("kept", storage.get("sign-in"));
seen.foreign = await code(shop.finishSignIn(`${REDIRECT_URI}?code=x&state=y`));
storage.set("sign-in", storage.get("kept"));
await shop.finishSignIn(back);

// Its token is about to end, so the next request renews it.
const tokens = JSON.parse(storage.get("tokens"));
storage.set("tokens", JSON.stringify({ ...tokens, until: 0 }));

const items = [{ sku: SKU, quantity: 1 }];
const order = await shop.order(items, "cart-of-a-browser");
const again = await shop.order(items, "cart-of-a-browser");
seen.sameOrder = order.order_id === again.order_id;
seen.renewed = JSON.parse(storage.get("tokens")).until > 0;
const payment = await shop.pay(order.order_id);
await fetch(`${CHAPA}/_control/pay`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ tx_ref: payment.tx_ref, webhook: false }),
});
seen.paid = (await shop.awaitPayment(payment.tx_ref, { every: 1 })).order_status;
seen.cancel = await code(shop.cancel(order.order_id));

const second = await shop.order(items, "another-cart");
seen.cancelled = (await shop.cancel(second.order_id)).status;
seen.orders = (await all(shop.orders())).map(({ status }) => status);
seen.see = (await shop.seeOrder(order.order_id)).payments.length;
console.log(JSON.stringify(seen));
