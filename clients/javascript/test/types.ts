/** Compiled, never run: what callers may write keeps its types. */

import {
  type Batch,
  type BatchJob,
  type BatchResult,
  type BatchStatus,
  FistClient,
  type JobInfo,
  type Moderation,
  Penstock,
  type Verdict,
} from "../src/index.js";

type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(_: Same<A, B>): void => undefined;

export async function typed(client: Penstock, wish: boolean): Promise<void> {
  const text = await client.moderate("a");
  const texts = await client.moderate(["a"]);
  const parts = await client.moderate([{ type: "text", text: "a" }]);
  same<typeof text, Verdict>(true);
  same<typeof texts, Verdict[]>(true);
  same<typeof parts, Verdict>(true);

  const results = await client.moderateBatch(["a"]);
  const job = await client.moderateBatch(["a"], { background: true });
  const either = await client.moderateBatch(["a"], { background: wish });
  same<typeof results, Moderation[]>(true);
  same<typeof job, BatchJob>(true);
  same<typeof either, Moderation[] | typeof job>(true);

  const state = await job.wait({
    onProgress: (now) => same<typeof now, BatchStatus>(true),
    signal: new AbortController().signal,
    timeout: 5,
  });
  same<typeof state, BatchStatus>(true);
  for await (const now of job.progress()) same<typeof now, BatchStatus>(true);
  const judged = await job.results();
  same<typeof judged, Moderation[]>(true);

  for await (const found of client.listJobs({ state: "failed" })) {
    same<typeof found.latest, JobInfo>(true);
  }
  const batch = await client.createBatch({ requests: [{ body: { input: "a" } }] });
  same<typeof batch, Batch>(true);
  for await (const page of client.batchResults("batch_1", { pageSize: 5 }).pages()) {
    same<typeof page.items, BatchResult[]>(true);
  }

  // @ts-expect-error a state that does not exist
  client.listJobs({ state: "lost" });
  // @ts-expect-error one text is not a batch
  await client.moderateBatch("a");
  // @ts-expect-error an option that does not exist
  await client.moderateContent("a", { timeoutMs: 5 });
  new FistClient({ token: "fist_1", baseUrl: "http://localhost:8000" });
}
