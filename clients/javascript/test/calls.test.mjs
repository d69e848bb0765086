import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { afterEach, test } from "node:test";
import * as client from "penstock-client";
import { json, ONE, problem, refused, response, RESULT, script } from "./rig.mjs";

function stub(...answers) {
  const { fetch, calls } = script(...answers);
  return { calls, penstock: new client.Penstock({ fetch, apiKey: "psk_1", maxRetries: 0 }) };
}

afterEach(() => {
  delete process.env.PENSTOCK_URL;
  delete process.env.PENSTOCK_KEY;
});

test("CommonJS has the same names", () => {
  const required = createRequire(import.meta.url)("penstock-client");

  assert.deepEqual(Object.keys(required).sort(), Object.keys(client).sort());
});

test("a text goes out with the key and comes back in camelCase", async () => {
  const { penstock, calls } = stub(json(ONE));

  const result = await penstock.moderateContent("hello", { probabilityThresholds: { low: 10 } });

  const [call] = calls;
  assert.equal(`${call.method} ${call.url}`, "POST http://127.0.0.1:8000/api/moderate");
  assert.equal(call.headers.authorization, "Bearer psk_1");
  assert.deepEqual(call.body, { content: "hello", probability_thresholds: { low: 10 } });
  assert.deepEqual(result, {
    moderationId: "mod_1",
    contentHash: "ab",
    finalDecision: "A",
    inappropriateProbability: 12,
    aiReason: "kind",
    reason: "nothing found",
    createdAt: RESULT.created_at,
    wordCount: 2,
    percentageUsed: 0.8,
    fromCache: false,
    error: null,
    requestId: "req_1",
  });
});

const NATIVE = {
  id: "modr-1",
  model: "m",
  results: [
    {
      flagged: true,
      categories: { "self-harm/intent": true, my_own: false },
      category_scores: { my_own: 0.1 },
      category_applied_input_types: { my_own: ["text"] },
      penstock: {
        id: "mod_2",
        decision: "rejected",
        reason: "r",
        risk: 0.9,
        spans: [],
        receipt: {
          source: "disk",
          age_seconds: 1,
          stages: { local_model: 0.1 },
          models: { a_b: "1" },
          tokens: { in: 1 },
          cost: { spent_micros: 3 },
        },
      },
    },
  ],
};

test("fields are renamed, and keys that are data are not", async () => {
  const { penstock } = stub(json(NATIVE));

  const verdict = await penstock.moderate("hello");

  assert.deepEqual(Object.keys(verdict.categories), ["self-harm/intent", "my_own"]);
  assert.deepEqual(verdict.categoryScores, { my_own: 0.1 });
  assert.deepEqual(verdict.receipt.stages, { local_model: 0.1 });
  assert.deepEqual(verdict.receipt.models, { a_b: "1" });
  assert.equal(verdict.receipt.cost.spentMicros, 3);
  assert.deepEqual([verdict.decision, verdict.fromCache], ["rejected", true]);
});

test("many texts are many verdicts, and the parts of one input are one", async () => {
  const { penstock } = stub(json(NATIVE));

  const many = await penstock.moderate(["hello"]);
  const parts = await penstock.moderate([{ type: "text", text: "hello" }], { user: "u1" });

  assert.equal(many.length, 1);
  assert.equal(parts.decision, "rejected");
});

test("a batch takes a list, not a text", async () => {
  await assert.rejects(stub().penstock.moderateBatch("hello"), TypeError);
});

test("clearing names only what is given", async () => {
  const { penstock, calls } = stub(json({ status: "success", cleared_entries: 3 }));

  const cleared = await penstock.clearCache({ olderThanSeconds: 60, timeout: 5 });

  assert.deepEqual(calls[0].body, { older_than_seconds: 60 });
  assert.equal(cleared.clearedEntries, 3);
});

test("the state of the cache keeps the names of tiers", async () => {
  const { penstock } = stub(json({ hit_rate: 0.5, tiers: { my_tier: { hit_rate: 1 } } }));

  const stats = await penstock.getCacheStats();

  assert.equal(stats.hitRate, 0.5);
  assert.deepEqual(stats.tiers, { my_tier: { hitRate: 1 } });
});

for (const [name, answer, expected] of [
  ["a good answer", json({ key_id: "env" }), true],
  ["a wrong key", problem(401, "unauthorized"), false],
  ["no connection", refused, false],
  ["some other server", response("hello"), false],
]) {
  test(`testConnection is ${expected} for ${name}`, async () => {
    assert.equal(await stub(answer).penstock.testConnection(), expected);
  });
}

test("testConnection that is aborted says so", async () => {
  const signal = AbortSignal.abort();
  const fetch = async () => Promise.reject(signal.reason);

  await assert.rejects(new client.Penstock({ fetch }).testConnection({ signal }), {
    name: "AbortError",
  });
});

test("a list is fetched page by page while it is read", async () => {
  const { penstock, calls } = stub(
    json({ items: [{ id: "job_1", state: "queued" }, { id: "job_2" }], next: "c+1" }),
    json({ items: [{ id: "job_3" }], next: null }),
  );

  const list = penstock.listJobs({
    state: ["queued", "failed"],
    createdAfter: new Date(0),
    pageSize: 2,
  });
  const before = calls.length;
  const ids = [];
  for await (const job of list) ids.push(job.jobId);

  assert.equal(before, 0);
  assert.deepEqual(ids, ["job_1", "job_2", "job_3"]);
  const first = new URL(calls[0].url).searchParams;
  assert.deepEqual(first.getAll("state"), ["queued", "failed"]);
  assert.equal(first.get("limit"), "2");
  assert.equal(first.get("created_after"), "1970-01-01T00:00:00.000Z");
  assert.equal(new URL(calls[1].url).searchParams.get("cursor"), "c+1");
});

test("a list can be read by pages, and from one on", async () => {
  const { penstock, calls } = stub(
    json({ items: [{}], next: "b" }),
    json({ items: [], next: null }),
  );

  const pages = [];
  for await (const page of penstock.batchResults("batch_1").pages("a")) pages.push(page);

  assert.deepEqual(
    pages.map((page) => page.next),
    ["b", null],
  );
  assert.equal(new URL(calls[0].url).searchParams.get("cursor"), "a");
});

test("who leaves a list early asks for no more pages", async () => {
  const { penstock, calls } = stub(json({ items: [{ id: "job_1" }], next: "b" }));

  for await (const job of penstock.listJobs()) {
    assert.equal(job.jobId, "job_1");
    break;
  }

  assert.equal(calls.length, 1);
});

test("a batch's bodies and metadata are sent and given back as they are", async () => {
  const { penstock, calls } = stub(
    json({
      id: "batch_1",
      status: "in_progress",
      request_counts: { total: 1, completed: 0, failed: 0 },
      metadata: { my_key: "x" },
      penstock: { job_id: "job_1", progress: { done: 0, eta_seconds: 1 } },
    }),
  );

  const batch = await penstock.createBatch({
    requests: [{ customId: "a_b", body: { input: "hello", my_field: 1 } }],
    metadata: { my_key: "x" },
  });

  assert.deepEqual(calls[0].body, {
    endpoint: "/v1/moderations",
    requests: [{ custom_id: "a_b", body: { input: "hello", my_field: 1 } }],
    metadata: { my_key: "x" },
    completion_window: "24h",
  });
  assert.deepEqual(batch.latest.metadata, { my_key: "x" });
  assert.equal(batch.latest.progress.etaSeconds, 1);
});

test("an id is one part of the path", async () => {
  const { penstock, calls } = stub(json({ id: "x" }));

  await penstock.getJob("a/../b?c");

  assert.equal(calls[0].url, "http://127.0.0.1:8000/v1/jobs/a%2F..%2Fb%3Fc");
});

test("address and key may come from the environment", async () => {
  process.env.PENSTOCK_URL = "http://elsewhere:1/below/";
  process.env.PENSTOCK_KEY = "psk_env\n";
  const { fetch, calls } = script(json({ status: "healthy" }));

  await new client.Penstock({ fetch }).getHealth();

  assert.equal(calls[0].url, "http://elsewhere:1/below/api/health");
  assert.equal(calls[0].headers.authorization, "Bearer psk_env");
});

test("without a key there is no Authorization, and headers may be added", async () => {
  const { fetch, calls } = script(json({ status: "healthy" }));

  const penstock = new client.Penstock({ fetch, headers: { "X-One": "1" } });
  await penstock.getHealth({ headers: { "X-Two": "2" } });

  assert.deepEqual(calls[0].headers, { accept: "application/json", "x-one": "1", "x-two": "2" });
});

test("FIST's client takes a token", async () => {
  const { fetch, calls } = script(json(ONE));

  const fist = new client.FistClient({ token: "fist_1", baseUrl: "http://x:1", fetch });
  await fist.moderateContent("hello");

  assert.equal(calls[0].headers.authorization, "Bearer fist_1");
  assert.ok(fist instanceof client.Penstock);
});
