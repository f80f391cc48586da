// A shop's page in plain JavaScript: sign in, show the catalogue, order, pay. docs/front-end.md
// explains it. It needs no package and no build: <script type="module"> imports it.

const PATIENCE_MS = 35_000; // API Gateway answers within 30 seconds.
const TRIES = 5;

/** An error of the API. Decide by `code`; `title` and `detail` are for people. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.message ?? `HTTP ${status}`);
    Object.assign(this, body, { status });
  }
}

export class Shop {
  /**
   * `issuer` and `clientId` are outputs of the stack, or your own identity provider's.
   * `redirectUri` is a page of yours that is in LoginCallbackUrls. `signInWith` holds further
   * parameters of the sign-in page, if your own identity provider needs any.
   */
  constructor({
    apiUrl,
    issuer,
    clientId,
    redirectUri,
    scope = "openid",
    signInWith = {},
    storage = sessionStorage,
  }) {
    Object.assign(this, { apiUrl, issuer, clientId, redirectUri, scope, signInWith, storage });
  }

  // Signing in: authorization code with PKCE (RFC 7636).

  /** Send the browser to the URL that this returns: `location.assign(await shop.signInUrl())`. */
  async signInUrl() {
    const verifier = random();
    const state = random();
    this.storage.setItem("sign-in", JSON.stringify({ verifier, state }));
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
    const url = new URL((await this.#endpoints()).authorization_endpoint);
    url.search = new URLSearchParams({
      ...this.signInWith,
      response_type: "code",
      client_id: this.clientId,
      redirect_uri: this.redirectUri,
      scope: this.scope,
      state,
      code_challenge: base64url(new Uint8Array(digest)),
      code_challenge_method: "S256",
    });
    return url.href;
  }

  /** Call this on the page of `redirectUri` with `location.href`. */
  async finishSignIn(href) {
    const answer = new URL(href).searchParams;
    const begun = JSON.parse(this.storage.getItem("sign-in") ?? "{}");
    this.storage.removeItem("sign-in");
    // An answer that this page did not ask for may sign the customer in as somebody else.
    if (!begun.state || answer.get("state") !== begun.state) throw new Error("not our sign-in");
    if (!answer.get("code")) throw new Error(answer.get("error") ?? "no code");
    await this.#takeTokens({
      grant_type: "authorization_code",
      code: answer.get("code"),
      code_verifier: begun.verifier,
      redirect_uri: this.redirectUri,
    });
  }

  get signedIn() {
    return this.storage.getItem("tokens") !== null;
  }

  signOut() {
    this.storage.removeItem("tokens");
  }

  async #token() {
    const tokens = JSON.parse(this.storage.getItem("tokens") ?? "{}");
    if (!tokens.access) throw new Problem(401, { message: "Sign in first." });
    if (Date.now() < tokens.until) return tokens.access;
    if (!tokens.refresh) throw this.#signedOut();
    // Before it ends: the browser may hide an answer 401 of another origin from the page.
    return this.#takeTokens({ grant_type: "refresh_token", refresh_token: tokens.refresh });
  }

  async #takeTokens(fields) {
    const response = await fetch((await this.#endpoints()).token_endpoint, {
      method: "POST",
      body: new URLSearchParams({ ...fields, client_id: this.clientId }),
    });
    notBusy(response);
    const answer = await response.json();
    if (!response.ok) throw this.#signedOut(answer.error);
    const refresh = answer.refresh_token ?? fields.refresh_token;
    const until = Date.now() + (answer.expires_in - 60) * 1000;
    this.storage.setItem("tokens", JSON.stringify({ access: answer.access_token, refresh, until }));
    return answer.access_token;
  }

  #signedOut(reason = "The sign-in has ended.") {
    this.signOut();
    return new Problem(401, { message: reason });
  }

  async #endpoints() {
    if (!this.discovered) {
      const response = await fetch(`${this.issuer}/.well-known/openid-configuration`);
      notBusy(response);
      this.discovered = await response.json();
    }
    return this.discovered;
  }

  // The API. Every request here may be sent twice, so each is repeated when that can help.

  async request(method, path, { body, key, open = false } = {}) {
    for (let number = 1; ; number += 1) {
      let problem;
      try {
        const headers = {};
        if (!open) headers.authorization = `Bearer ${await this.#token()}`;
        if (body) headers["content-type"] = "application/json";
        if (key) headers["idempotency-key"] = key;
        const response = await fetch(this.apiUrl + path, {
          method,
          headers,
          body: body && JSON.stringify(body),
          signal: AbortSignal.timeout(PATIENCE_MS),
        });
        const answer = await response.json();
        if (response.ok) return answer;
        problem = new Problem(response.status, answer);
        if (problem.status === 401) throw this.#signedOut();
        // The gateway's own answers have no code; all but these two are final.
        const gateway = !problem.code && (problem.status === 429 || problem.status >= 500);
        problem.pause = problem.retry_after ?? (gateway ? number : undefined);
      } catch (error) {
        if (error instanceof Problem) throw error;
        problem = error; // No answer: the request may have been carried out or not.
        problem.pause = number;
      }
      if (problem.pause === undefined || number === TRIES) throw problem;
      await sleep(problem.pause);
    }
  }

  /** Every product, page by page: `for await (const product of shop.products())`. */
  products() {
    return this.#pages("/products", "products", { open: true });
  }

  /** The customer's orders, the newest first. */
  orders() {
    return this.#pages("/orders", "orders");
  }

  async *#pages(path, field, options) {
    for (let query = ""; ; ) {
      const page = await this.request("GET", path + query, options);
      yield* page[field];
      if (!page.next) return;
      query = `?${new URLSearchParams({ cursor: page.next })}`;
    }
  }

  /** `key` is the cart's, made once with `crypto.randomUUID()` and kept until the cart is empty. */
  order(items, key, customer = {}) {
    if (!key) throw new TypeError("Without a key, an order that is sent twice is placed twice.");
    return this.request("POST", "/orders", { body: { items, customer }, key });
  }

  seeOrder(orderId) {
    return this.request("GET", `/orders/${encodeURIComponent(orderId)}`);
  }

  cancel(orderId) {
    return this.request("POST", `/orders/${encodeURIComponent(orderId)}/cancel`);
  }

  /** Send the browser to `checkout_url` of the answer. Asking again never opens a second payment. */
  pay(orderId) {
    return this.request("POST", "/payments", { body: { order_id: orderId } });
  }

  /** On the page that Chapa sends the customer back to: wait until the order is not pending. */
  async awaitPayment(txRef, { seconds = 120, every = 3 } = {}) {
    const path = `/payments/${encodeURIComponent(txRef)}?refresh=true`;
    for (const end = Date.now() + seconds * 1000; ; await sleep(every)) {
      const payment = await this.request("GET", path);
      if (payment.order_status !== "pending" || Date.now() > end) return payment;
    }
  }
}

/** Trouble of the identity provider says nothing about the customer's sign-in. */
function notBusy({ status }) {
  if (status === 429 || status >= 500) throw new Error(`HTTP ${status}`);
}

function random() {
  return base64url(crypto.getRandomValues(new Uint8Array(32)));
}

function base64url(bytes) {
  const text = btoa(String.fromCharCode(...bytes));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function sleep(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}
