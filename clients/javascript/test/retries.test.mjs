import assert from "node:assert/strict";
import { test } from "node:test";
import * as client from "penstock-client";
import { json, ManualClock, ONE, problem, refused, response, script, silence } from "./rig.mjs";

function stub(...answers) {
  const { fetch, calls } = script(...answers);
  const clock = new ManualClock();
  const penstock = new client.Penstock({ fetch, clock, apiKey: "psk_1", baseUrl: "http://x/" });
  return { penstock, clock, calls };
}

/** The waits between tries: all timers but the time limits of 60 s. */
const pauses = (clock) => clock.waits.filter((wait) => wait !== 60_000);

test("two failures and an answer are one result", async () => {
  const { penstock, clock, calls } = stub(problem(503, "busy"), problem(503, "busy"), json(ONE));

  const result = await clock.settle(penstock.moderateContent("hello"));

  assert.equal(result.finalDecision, "A");
  assert.equal(calls.length, 3);
});

test("waits double from half a second", async () => {
  const { penstock, clock } = stub(problem(500, "internal"));

  const call = clock.settle(penstock.moderateContent("hello", { maxRetries: 6 }));

  await assert.rejects(call, client.ServerError);
  assert.deepEqual(pauses(clock), [500, 1000, 2000, 4000, 8000, 8000]);
});

test("chance takes at most a quarter off a wait", async () => {
  const { penstock, clock } = stub(refused, json(ONE));
  clock.chance = 0.999_999;

  await clock.settle(penstock.moderateContent("hello"));

  assert.equal(Math.round(pauses(clock)[0]), 375);
});

for (const answer of [
  refused,
  problem(408, "slow"),
  problem(429, "rate-limited"),
  problem(502, "x"),
]) {
  test(`it is tried again after ${answer.status ?? "a refused connection"}`, async () => {
    const { penstock, clock, calls } = stub(answer, json(ONE));

    await clock.settle(penstock.moderateContent("hello"));

    assert.equal(calls.length, 2);
  });
}

for (const [status, kind] of [
  [400, client.BadRequestError],
  [401, client.AuthenticationError],
  [403, client.PermissionDeniedError],
  [404, client.NotFoundError],
  [409, client.ConflictError],
  [413, client.TooLargeError],
  [418, client.APIError],
  [422, client.InvalidInputError],
]) {
  test(`${status} is a ${kind.prototype.name} without another try`, async () => {
    const { penstock, clock, calls } = stub(problem(status, "not-good"));

    const call = clock.settle(penstock.moderateContent("hello"));

    await assert.rejects(call, (error) => error.constructor === kind && error.status === status);
    assert.equal(calls.length, 1);
  });
}

test("a conflict that says when to come again is tried again", async () => {
  const { penstock, clock, calls } = stub(
    problem(409, "conflict", {}, { "retry-after": "1" }),
    json(ONE),
  );

  await clock.settle(penstock.moderateContent("hello"));

  assert.equal(calls.length, 2);
});

test("Retry-After in seconds is obeyed", async () => {
  const { penstock, clock } = stub(problem(429, "x", {}, { "retry-after": "7" }), json(ONE));

  await clock.settle(penstock.moderateContent("hello"));

  assert.deepEqual(pauses(clock), [7000]);
});

test("Retry-After as a date is obeyed", async () => {
  const at = new Date(new ManualClock().time + 9000).toUTCString();
  const { penstock, clock } = stub(problem(503, "x", {}, { "retry-after": at }), json(ONE));

  await clock.settle(penstock.moderateContent("hello"));

  assert.deepEqual(pauses(clock), [9000]);
});

test("nobody waits longer than a minute for Retry-After", async () => {
  const { penstock, clock } = stub(problem(429, "x", {}, { "retry-after": "86400" }), json(ONE));

  await clock.settle(penstock.getHealth({ timeout: 5 }));

  assert.equal(Math.max(...clock.waits), 60_000);
});

test("a Retry-After that is neither is not obeyed", async () => {
  const { penstock, clock } = stub(problem(429, "x", {}, { "retry-after": "soon" }), json(ONE));

  await clock.settle(penstock.moderateContent("hello"));

  assert.deepEqual(pauses(clock), [500]);
});

test("all tries of a POST carry one idempotency key, and each POST has its own", async () => {
  const { penstock, clock, calls } = stub(problem(503, "x"), problem(503, "x"), json(ONE));

  await clock.settle(penstock.moderateContent("hello"));
  await clock.settle(penstock.moderateContent("hello"));

  const keys = calls.map((call) => call.headers["idempotency-key"]);
  assert.match(keys[0], /^[0-9a-f]{32}$/);
  assert.deepEqual(keys.slice(0, 3), [keys[0], keys[0], keys[0]]);
  assert.notEqual(keys[3], keys[0]);
});

test("a caller may bring the idempotency key", async () => {
  const { penstock, calls } = stub(json(ONE));

  await penstock.moderateContent("hello", { idempotencyKey: "mine" });

  assert.equal(calls[0].headers["idempotency-key"], "mine");
});

test("a GET carries none", async () => {
  const { penstock, calls } = stub(json({ status: "healthy" }));

  await penstock.getHealth();

  assert.equal(calls[0].headers["idempotency-key"], undefined);
});

test("a try that takes too long is a TimeoutError, and is tried again", async () => {
  const { penstock, clock, calls } = stub(silence);

  const call = clock.settle(penstock.moderateContent("hello", { timeout: 3 }));

  await assert.rejects(call, client.TimeoutError);
  assert.equal(calls.length, 3);
  assert.equal(clock.waits[0], 3000);
});

test("a body that is cut is a ConnectionError", async () => {
  const cut = response(() => {
    throw new TypeError("terminated");
  });
  const { penstock, clock } = stub(cut);

  await assert.rejects(clock.settle(penstock.getHealth()), client.ConnectionError);
});

test("an aborted call ends at once, without another try", async () => {
  const { penstock, calls } = stub(silence);
  const controller = new AbortController();

  const call = penstock.moderateContent("hello", { signal: controller.signal });
  controller.abort("enough");

  await assert.rejects(call, (error) => {
    assert.ok(error instanceof client.AbortedError);
    assert.deepEqual([error.name, error.cause], ["AbortError", "enough"]);
    return true;
  });
  assert.equal(calls.length, 1);
});

test("an abort also ends the wait between two tries", async () => {
  const controller = new AbortController();
  const answer = () => {
    setImmediate(() => setImmediate(() => controller.abort()));
    return problem(503, "busy");
  };
  const { penstock, clock, calls } = stub(answer);

  const call = penstock.getHealth({ signal: controller.signal });

  await assert.rejects(call, client.AbortedError);
  assert.equal(calls.length, 1);
  assert.equal(clock.pending, 0);
});

test("a signal that is aborted already sends nothing", async () => {
  const { penstock, calls } = stub(silence);

  const call = penstock.getHealth({ signal: AbortSignal.abort() });

  await assert.rejects(call, client.AbortedError);
  assert.equal(calls.length, 0);
});

test("no timer is left behind", async () => {
  const { penstock, clock } = stub(problem(503, "busy"), json(ONE));

  await clock.settle(penstock.moderateContent("hello"));

  assert.equal(clock.pending, 0);
});
