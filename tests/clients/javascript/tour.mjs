/**
 * Everything that the client does, once, against a real server: the same in Node and in a browser.
 * What it saw is the result; the test looks at it.
 */
const KIND = "Thank you all for the lovely evening.";
const THREAT = "I will kill you tomorrow morning.";

export async function tour({ Penstock }, baseUrl, apiKey) {
  const penstock = new Penstock({ baseUrl, apiKey });
  const cleared = await penstock.clearCache();
  const first = await penstock.moderateContent(KIND);
  const again = await penstock.moderateContent(KIND);
  return {
    cleared,
    first,
    again,
    found: await penstock.getResult(first.moderationId),
    verdict: await penstock.moderate(THREAT),
    verdicts: (await penstock.moderate([KIND, THREAT])).map((verdict) => verdict.decision),
    health: await penstock.getHealth(),
    metrics: await penstock.getMetrics(),
    cache: await penstock.getCacheStats(),
    connected: await penstock.testConnection(),
    stranger: await new Penstock({ baseUrl, apiKey: "psk_wrong" }).testConnection(),
    errors: {
      empty: await errorOf(penstock.moderateContent("")),
      wrong: await errorOf(new Penstock({ baseUrl, apiKey: "psk_wrong" }).getMetrics()),
      gone: await errorOf(penstock.getBatchStatus("batch_unknown")),
    },
    ...(await batches(penstock)),
    ...(await jobs(penstock)),
  };
}

async function batches(penstock) {
  const inline = await penstock.moderateBatch([KIND, THREAT, KIND]);
  const job = await penstock.moderateBatch(texts(40), { background: true });
  const percents = [];
  for await (const state of job.progress()) percents.push(state.progressPercent);
  const native = await penstock.createBatch({
    requests: texts(3).map((input, index) => ({ customId: `my_${index}`, body: { input } })),
    metadata: { my_key: "kept" },
  });
  const told = [];
  const last = await native.wait({ onProgress: (state) => told.push(state.progress.done) });
  const lines = await native.results().toArray();
  return {
    inline: inline.map((result) => result.finalDecision),
    jobId: job.id,
    percents,
    status: await penstock.getBatchStatus(job.id),
    background: (await job.results()).map((result) => result.finalDecision),
    batch: last,
    told,
    line: lines[0],
    lines: lines.map(({ customId, statusCode, body }) => [
      customId,
      statusCode,
      body.results[0].flagged,
    ]),
    pages: await pagesOf(penstock.batchResults(native.id, { pageSize: 2 })),
    cancelDone: await errorOf(penstock.cancelBatch(native.id)),
  };
}

async function jobs(penstock) {
  const listed = [];
  for await (const job of penstock.listJobs({ pageSize: 1 })) listed.push(job.latest);
  const job = await penstock.getJob(listed[0].id);
  return {
    listed: listed.map(({ id, state, batchId }) => ({ id, state, batchId })),
    job: job.latest,
    cancelJob: await errorOf(penstock.cancelJob(job.id)),
  };
}

function texts(count) {
  return Array.from({ length: count }, (_, index) => `A lovely evening with ${index} friends.`);
}

async function pagesOf(list) {
  const sizes = [];
  for await (const page of list.pages()) sizes.push(page.items.length);
  return sizes;
}

async function errorOf(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    const { name, status, code, requestId } = error;
    return { name, status, code, known: Boolean(requestId) };
  }
}
