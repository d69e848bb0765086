/** The three kinds of jobs: what their states mean, and by which calls they are asked. */

import type { Penstock } from "./client.js";
import type { Ended, Source } from "./job.js";
import type { Paged } from "./pages.js";
import type { BatchInfo, BatchResult, BatchStatus, JobInfo, Moderation } from "./results.js";
import type { CallOptions } from "./transport.js";

/** Background batches of `moderateBatch`, in FIST's words. */
export function contentBatchSource(
  client: Penstock,
  id: string,
): Source<BatchStatus, Promise<Moderation[]>> {
  const read = async (options: CallOptions): Promise<BatchStatus> => {
    const state = await client.getBatchStatus(id, options);
    if (state.status !== "failed") {
      return state;
    }
    // FIST has one word for what failed and what was cancelled, we have two.
    const { status } = (await client.getBatch(id, options)).latest;
    return status === "cancelled" ? { ...state, status } : state;
  };
  return {
    read,
    cancel: async (options) => {
      await client.cancelBatch(id, options);
      return read(options);
    },
    results: (options) => client.getBatchResults(id, options),
    word: (state) => state.status,
    ended: (state) => ending(state.status),
    mark: (state) => `${state.status} ${state.processedItems}`,
    reason: () => undefined,
  };
}

/** Jobs of the task queue. */
export function jobSource(client: Penstock, id: string): Source<JobInfo, Promise<unknown>> {
  const read = async (options: CallOptions) => (await client.getJob(id, options)).latest;
  return {
    read,
    cancel: async (options) => (await client.cancelJob(id, options)).latest,
    results: async (options) => (await read(options)).result,
    word: (state) => state.state,
    ended: (state) => ending(state.state),
    mark: (state) => JSON.stringify([state.state, state.attempt, state.progress]),
    reason: (state) => state.error?.message,
  };
}

/** Batches of `createBatch`, in OpenAI's words. */
export function batchSource(client: Penstock, id: string): Source<BatchInfo, Paged<BatchResult>> {
  return {
    read: async (options) => (await client.getBatch(id, options)).latest,
    cancel: async (options) => (await client.cancelBatch(id, options)).latest,
    results: (options) => client.batchResults(id, options),
    word: (state) => state.status,
    ended: (state) => ending(state.status),
    mark: (state) => JSON.stringify([state.status, state.requestCounts]),
    reason: (state) => state.errors[0]?.message,
  };
}

const ENDINGS: Record<string, Ended> = {
  completed: "completed",
  failed: "failed",
  cancelled: "cancelled",
  expired: "cancelled",
};

function ending(word: string): Ended | undefined {
  return ENDINGS[word];
}
