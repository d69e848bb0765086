/** A clock that stands still and a server that is a list of answers: nothing here waits. */

/** Time that moves when it is told to. */
export class ManualClock {
  time = 1_700_000_000_000;
  chance = 0;
  waits = [];
  #timers = new Set();

  now() {
    return this.time;
  }

  random() {
    return this.chance;
  }

  after(milliseconds, then) {
    const timer = { at: this.time + milliseconds, then };
    this.waits.push(milliseconds);
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  get pending() {
    return this.#timers.size;
  }

  /** Move to the next timer, again and again, until the promise is settled. */
  async settle(promise) {
    let settled = false;
    const watched = promise.finally(() => (settled = true));
    watched.catch(() => {});
    for (let turn = 0; !settled; turn += 1) {
      if (turn > 10_000) throw new Error("the promise never settles");
      await new Promise((resolve) => setImmediate(resolve));
      if (!settled) this.#next();
    }
    return watched;
  }

  #next() {
    const [first] = [...this.#timers].sort((one, other) => one.at - other.at);
    if (first === undefined) return;
    this.#timers.delete(first);
    this.time = Math.max(this.time, first.at);
    first.then();
  }
}

/** A fetch that gives the next answer of a list and remembers what it was asked. */
export function script(...answers) {
  const calls = [];
  const fetch = async (url, init) => {
    calls.push({ url, ...init, body: init.body === undefined ? undefined : JSON.parse(init.body) });
    const answer = answers[Math.min(calls.length, answers.length) - 1];
    return typeof answer === "function" ? answer(init) : answer;
  };
  return { fetch, calls };
}

/** A response that is there at once: reading a real one takes turns of the event loop. */
export function response(text, status = 200, headers = {}) {
  return {
    ok: status < 300,
    status,
    headers: new Headers(headers),
    text: async () => (typeof text === "function" ? text() : text),
  };
}

export function json(document, status = 200, headers = {}) {
  return response(JSON.stringify(document), status, { "x-request-id": "req_1", ...headers });
}

export function problem(status, slug, fields = {}, headers = {}) {
  return json(
    { type: `/docs/errors#${slug}`, title: slug, status, detail: `it is ${slug}`, ...fields },
    status,
    headers,
  );
}

/** A fetch that never answers, until it is aborted. */
export function silence(init) {
  return new Promise((_, reject) => {
    init.signal.addEventListener("abort", () => reject(init.signal.reason));
  });
}

/** A fetch whose connection is refused, as Node's says it. */
export function refused() {
  const cause = Object.assign(new Error("connect"), { code: "ECONNREFUSED" });
  throw new TypeError("fetch failed", { cause });
}

export const RESULT = {
  moderation_id: "mod_1",
  content_hash: "ab",
  ai_result: { inappropriate_probability: 12, reason: "kind" },
  final_decision: "A",
  reason: "nothing found",
  created_at: "2026-01-01T00:00:00+00:00",
  word_count: 2,
  percentage_used: 0.8,
  from_cache: false,
};

export const ONE = { moderation_id: "mod_1", status: "completed", result: RESULT };
