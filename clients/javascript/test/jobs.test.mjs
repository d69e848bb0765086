import assert from "node:assert/strict";
import { test } from "node:test";
import * as client from "penstock-client";
import { json, ManualClock, problem, refused, RESULT, script, silence } from "./rig.mjs";

const at = (done, status = "processing", fields = {}) =>
  json({
    job_id: "batch_1",
    status,
    total_items: 4,
    processed_items: done,
    progress_percent: done * 25,
    ...fields,
  });

async function started(...answers) {
  const clock = new ManualClock();
  const { fetch, calls } = script(at(0, "pending"), ...answers);
  const penstock = new client.Penstock({ fetch, clock });
  const job = await penstock.moderateBatch(["a", "b", "c", "d"], { background: true });
  return { job, clock, calls };
}

test("a batch in the background is a job with an id, before anything is done", async () => {
  const { job, calls } = await started();

  assert.deepEqual(
    [job.id, job.jobId, job.status, job.done],
    ["batch_1", "batch_1", "pending", false],
  );
  assert.deepEqual(calls[0].body, { contents: ["a", "b", "c", "d"], background: true });
});

test("wait tells of progress and returns the last state", async () => {
  const told = [];
  const { job, clock } = await started(at(1), at(1), at(3), at(4, "completed"));

  const state = await clock.settle(
    job.wait({ onProgress: (now) => told.push(now.processedItems) }),
  );

  assert.deepEqual(told, [1, 3, 4]);
  assert.deepEqual([state.status, state.progressPercent], ["completed", 100]);
});

test("time that passes is no progress", async () => {
  const told = [];
  const { job, clock } = await started(
    at(1, "processing", { elapsed_seconds: 1 }),
    at(1, "processing", { elapsed_seconds: 2 }),
    at(4, "completed"),
  );

  await clock.settle(job.wait({ onProgress: (now) => told.push(now.processedItems) }));

  assert.deepEqual(told, [1, 4]);
});

test("progress is an async iterable that ends with the job", async () => {
  const { job, clock } = await started(at(2), at(4, "completed"));

  const read = async () => {
    const seen = [];
    for await (const state of job.progress()) seen.push(state.progressPercent);
    return seen;
  };

  assert.deepEqual(await clock.settle(read()), [50, 100]);
});

test("looks become rarer: a tenth of the time watched, 0.1 to 2 s", async () => {
  const { job, clock } = await started(...Array(80).fill(at(1)), at(4, "completed"));

  await clock.settle(job.wait());

  const pauses = clock.waits.filter((wait) => wait !== 60_000);
  assert.equal(pauses[0], 100);
  assert.equal(Math.max(...pauses), 2000);
  assert.ok(pauses.every((pause, index) => index === 0 || pause >= pauses[index - 1]));
});

test("the results are a call of their own, in order", async () => {
  const second = { ...RESULT, final_decision: "R" };
  const { job, clock } = await started(
    at(4, "completed"),
    json({ job_id: "batch_1", results: [RESULT, second] }),
  );

  await clock.settle(job.wait());
  const results = await job.results();

  assert.deepEqual(
    results.map((result) => result.finalDecision),
    ["A", "R"],
  );
});

test("a text that could not be judged is for a person to see, with the reason", async () => {
  const errors = [{ index: 1, error: "it took too long", code: "timeout" }];
  const { job } = await started(json({ results: [RESULT, null], errors }));

  const [first, second] = await job.results();

  assert.equal(first.error, null);
  assert.equal(second.finalDecision, "M");
  assert.deepEqual(second.error, { code: "timeout", message: "it took too long" });
});

test("a job that has ended is not asked again", async () => {
  const { job, clock, calls } = await started(at(4, "completed"));

  await clock.settle(job.wait());
  await job.wait();

  assert.equal(calls.length, 2);
});

const batchOf = (status) => json({ id: "batch_1", status, penstock: {} });

test("a failed job is a JobFailedError with its last state", async () => {
  const { job, clock } = await started(at(1, "failed"), batchOf("failed"));

  await assert.rejects(clock.settle(job.wait()), (error) => {
    assert.equal(error.constructor, client.JobFailedError);
    assert.equal(error.message, "batch_1 is failed");
    assert.equal(error.job.processedItems, 1);
    return true;
  });
});

test("a cancelled batch of texts is told from a failed one", async () => {
  const { job, clock } = await started(at(1, "failed"), batchOf("cancelled"));

  await assert.rejects(clock.settle(job.wait()), client.JobCancelledError);
  assert.deepEqual([job.status, job.latest.processedItems], ["cancelled", 1]);
});

for (const state of ["cancelled", "expired"]) {
  test(`a job that is ${state} is a JobCancelledError`, async () => {
    const { fetch } = script(json({ id: "job_1", state }));
    const job = await new client.Penstock({ fetch }).getJob("job_1");

    await assert.rejects(job.wait(), client.JobCancelledError);
  });
}

test("a wait that is over is a WaitTimeoutError, and the job goes on", async () => {
  const { job, clock, calls } = await started(at(1));

  await assert.rejects(clock.settle(job.wait({ timeout: 5 })), client.WaitTimeoutError);
  assert.equal(job.status, "processing");
  assert.ok(calls.every((call) => !call.url.endsWith("/cancel")));
});

test("an abort ends the wait, not the job", async () => {
  const { job, calls } = await started(at(1));
  const controller = new AbortController();

  const wait = job.wait({ signal: controller.signal, onProgress: () => controller.abort() });

  await assert.rejects(wait, client.AbortedError);
  assert.ok(calls.every((call) => call.method === "GET" || call.url.endsWith("/batch")));
});

test("waiting outlives a restart of the server", async () => {
  const gone = Array(50).fill(refused);
  const { job, clock } = await started(at(1), ...gone, at(4, "completed"));

  const state = await clock.settle(job.wait());

  assert.equal(state.status, "completed");
});

test("a server that stays away longer than a minute ends the wait", async () => {
  const { job, clock } = await started(at(1), refused);
  const begun = clock.now();

  await assert.rejects(clock.settle(job.wait()), client.ConnectionError);

  assert.ok(clock.now() - begun > 60_000);
});

test("a wait ends in time although the server is away", async () => {
  const { job, clock } = await started(at(1), refused);
  const begun = clock.now();

  await assert.rejects(clock.settle(job.wait({ timeout: 5 })), client.WaitTimeoutError);

  assert.equal(clock.now() - begun, 5000);
});

test("a wait ends soon after its time although the server is silent", async () => {
  const { job, clock } = await started(at(1), silence);
  const begun = clock.now();

  await assert.rejects(clock.settle(job.wait({ timeout: 5 })), client.WaitTimeoutError);

  assert.ok(clock.now() - begun <= 6000);
});

test("a server that asks to be left alone is", async () => {
  const busy = problem(429, "rate-limited", {}, { "retry-after": "20" });
  const { job, clock } = await started(busy, at(4, "completed"));

  await clock.settle(job.wait());

  assert.ok(clock.waits.includes(20_000));
});

test("a job that is gone ends the wait", async () => {
  const { job, clock } = await started(problem(404, "not-found"));

  await assert.rejects(clock.settle(job.wait()), client.NotFoundError);
});

test("what the caller's function throws ends the wait", async () => {
  const { job, clock } = await started(at(1));
  const onProgress = () => {
    throw new RangeError("mine");
  };

  await assert.rejects(clock.settle(job.wait({ onProgress })), RangeError);
});

test("cancelling a batch of texts cancels it and asks how it is", async () => {
  const { job, calls } = await started(
    batchOf("cancelling"),
    at(1, "failed"),
    batchOf("cancelled"),
  );

  const state = await job.cancel();

  assert.equal(state.status, "cancelled");
  assert.match(calls[1].url, /\/v1\/batches\/batch_1\/cancel$/);
});

const JOB = {
  id: "job_1",
  task: "app:count",
  state: "running",
  batch_id: null,
  max_attempts: 3,
  progress: { done: 1, total: 4, failed: 0, cached: 0, note: "a" },
  error: null,
  request_id: "req_of_the_enqueue",
};

test("a task's job is watched to its end, with what it returned", async () => {
  const clock = new ManualClock();
  const { fetch } = script(
    json(JOB),
    json({ ...JOB, progress: { done: 2, total: 4 } }),
    json({ ...JOB, state: "completed", result: { my_key: 1 } }),
  );
  const job = await new client.Penstock({ fetch, clock }).getJob("job_1");

  const done = [];
  await clock.settle(job.wait({ onProgress: (now) => done.push(now.progress.done) }));

  assert.deepEqual(done, [2, 1]);
  assert.deepEqual(await job.results(), { my_key: 1 });
  assert.equal(job.latest.maxAttempts, 3);
  assert.equal(job.latest.requestId, "req_of_the_enqueue");
});

test("a job is waited for by its id", async () => {
  const clock = new ManualClock();
  const { fetch } = script(json(JOB), json({ ...JOB, state: "completed", result: 7 }));

  const job = await clock.settle(new client.Penstock({ fetch, clock }).waitForJob("job_1"));

  assert.equal(job.result, 7);
});

test("a failed task says why", async () => {
  const error = { type: "ValueError", message: "no such page", attempt: 3 };
  const { fetch } = script(json({ ...JOB, state: "failed", error }));
  const job = await new client.Penstock({ fetch }).getJob("job_1");

  await assert.rejects(job.wait(), /job_1 is failed: no such page/);
});

test("jobs are cancelled and retried", async () => {
  const { fetch, calls } = script(json({ ...JOB, state: "cancelled" }), json(JOB));
  const penstock = new client.Penstock({ fetch });

  const cancelled = await penstock.cancelJob("job_1");
  const again = await penstock.retryJob("job_1");

  assert.deepEqual([cancelled.status, again.status], ["cancelled", "running"]);
  assert.deepEqual(
    calls.map((call) => `${call.method} ${new URL(call.url).pathname}`),
    ["POST /v1/jobs/job_1/cancel", "POST /v1/jobs/job_1/retry"],
  );
});

test("a conflict when cancelling says so", async () => {
  const { fetch } = script(json(JOB), problem(409, "conflict"));
  const job = await new client.Penstock({ fetch }).getJob("job_1");

  await assert.rejects(job.cancel(), client.ConflictError);
});

test("a batch whose file is wrong says so", async () => {
  const errors = {
    object: "list",
    data: [{ code: "invalid", message: "line 3 is no JSON", line: 3 }],
  };
  const { fetch } = script(json({ id: "batch_1", status: "failed", errors, penstock: {} }));
  const batch = await new client.Penstock({ fetch }).getBatch("batch_1");

  await assert.rejects(batch.wait(), /batch_1 is failed: line 3 is no JSON/);
});

async function resultsOf(answers, options) {
  const clock = new ManualClock();
  const { fetch, calls } = script(...answers);
  const results = new client.Penstock({ fetch, clock }).batchResults("batch_1", options);
  return { results, clock, calls };
}

test("the later results of a running batch are waited for", async () => {
  const { results, clock, calls } = await resultsOf([
    json({ items: [], next: "0" }),
    json({ items: [{ custom_id: "a" }], next: "1" }),
    ...Array(20).fill(json({ items: [], next: "1" })),
    json({ items: [{ custom_id: "b" }], next: null }),
  ]);

  const found = await clock.settle(results.toArray());

  assert.deepEqual(
    found.map((result) => result.customId),
    ["a", "b"],
  );
  assert.equal(calls.length, 23);
  assert.match(calls[22].url, /\?cursor=1$/);
  const pauses = clock.waits.filter((wait) => wait !== 60_000);
  assert.equal(pauses[0], 100);
  assert.ok(Math.max(...pauses) <= 2000);
});

test("reading results outlives a restart of the server", async () => {
  const { results, clock } = await resultsOf([
    json({ items: [{ custom_id: "a" }], next: "1" }),
    ...Array(50).fill(refused),
    json({ items: [{ custom_id: "b" }], next: null }),
  ]);

  const found = await clock.settle(results.toArray());

  assert.equal(found.length, 2);
});

test("a server that stays away longer than a minute ends the results", async () => {
  const { results, clock } = await resultsOf([json({ items: [], next: "0" }), refused]);
  const begun = clock.now();

  await assert.rejects(clock.settle(results.toArray()), client.ConnectionError);

  assert.ok(clock.now() - begun > 60_000);
});

test("an abort ends the waiting for results", async () => {
  const controller = new AbortController();
  const { results, calls } = await resultsOf([json({ items: [], next: "0" })], {
    signal: controller.signal,
  });

  const reading = results.toArray();
  setImmediate(() => controller.abort());

  await assert.rejects(reading, client.AbortedError);
  assert.equal(calls.length, 1);
});

test("a list goes on where a page ended", async () => {
  const { results, calls } = await resultsOf([json({ items: [{ custom_id: "b" }], next: null })]);

  for await (const { items } of results.pages("1")) assert.equal(items[0].customId, "b");

  assert.match(calls[0].url, /\?cursor=1$/);
});

for (const [name, id, told] of [
  ["getJob", "batch_1", /use getBatch/],
  ["cancelJob", "batch_1", /cancelBatch/],
  ["waitForJob", "batch_1", /waitForBatch/],
  ["getBatch", "job_1", /use getJob/],
  ["getBatchStatus", "job_1", /use getJob/],
]) {
  test(`${name} says what ${id} is`, async () => {
    const { fetch } = script(problem(404, "not-found"));

    await assert.rejects(new client.Penstock({ fetch })[name](id), (error) => {
      assert.ok(error instanceof client.NotFoundError);
      assert.match(error.message, told);
      assert.deepEqual([error.code, error.requestId], ["not_found", "req_1"]);
      return true;
    });
  });
}

test("a batch's results are read page by page", async () => {
  const { fetch } = script(
    json({ id: "batch_1", status: "completed", request_counts: {}, penstock: {} }),
    json({
      items: [
        { custom_id: "a", response: { status_code: 200, body: { my_key: 1 } }, error: null },
        { custom_id: "b", response: null, error: { code: "timeout", message: "late" } },
      ],
      next: null,
    }),
  );
  const batch = await new client.Penstock({ fetch }).getBatch("batch_1");

  const results = await batch.results().toArray();

  assert.deepEqual(results, [
    { customId: "a", statusCode: 200, body: { my_key: 1 }, error: null },
    { customId: "b", statusCode: null, body: null, error: { code: "timeout", message: "late" } },
  ]);
});
