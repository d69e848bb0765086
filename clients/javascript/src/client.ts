/** The client: one method for each thing that the server does. */

import type { ClientOptions } from "./config.js";
import { NotFoundError, PenstockError } from "./errors.js";
import { Job, type WaitOptions } from "./job.js";
import { camel, type Shape, snake } from "./naming.js";
import {
  batchBody,
  type ClearOptions,
  contentBody,
  type ContentBatchOptions,
  type ContentOptions,
  type Input,
  type JobFilter,
  jobQuery,
  type ModerateOptions,
  type NewBatch,
  pathPart,
} from "./options.js";
import { type Fetch, growing, type ListOptions, Paged } from "./pages.js";
import { batchInfo, batchResult, list, moderation, moderations, verdicts } from "./reading.js";
import type {
  BatchInfo,
  BatchResult,
  BatchStatus,
  CacheStats,
  Cleared,
  Health,
  InputPart,
  JobInfo,
  Metrics,
  Moderation,
  Verdict,
} from "./results.js";
import { CACHE, HEALTH, JOB, METRICS } from "./shapes.js";
import { batchSource, contentBatchSource, jobSource } from "./sources.js";
import { type Call, type CallOptions, type Query, type Reply, Transport } from "./transport.js";
import type { WatchOptions } from "./watch.js";

// Seconds: a batch that is answered at once may take the server 300. Node's own fetch gives up after
// 300; then the next try, with the same idempotency key, brings the answer.
const BATCH_TIMEOUT = 330;

/** A background batch of `moderateBatch`; its id is a batch's. */
export type BatchJob = Job<BatchStatus, Promise<Moderation[]>>;
/** A job of the server's task queue; its result is what its function returned. */
export type TaskJob = Job<JobInfo, Promise<unknown>>;
/** A batch of `createBatch`; its results are read page by page. */
export type Batch = Job<BatchInfo, Paged<BatchResult>>;

/**
 * A client of one Penstock server.
 *
 *     const penstock = new Penstock({ apiKey: "psk_...", baseUrl: "http://127.0.0.1:8000" });
 *     const { decision } = await penstock.moderate("Thank you all.");
 */
export class Penstock {
  readonly #transport: Transport;

  constructor(options: ClientOptions = {}) {
    this.#transport = new Transport(options);
  }

  /** Judge one text, in FIST's words: A, M or R, and percent. */
  async moderateContent(content: string, options: ContentOptions = {}): Promise<Moderation> {
    const body = contentBody({ content }, options);
    const reply = await this.#post("/api/moderate", body, options);
    return moderation(reply.document, reply.requestId);
  }

  /** What was decided under this id; its owner and administrators may ask. */
  async getResult(moderationId: string, options: CallOptions = {}): Promise<Moderation> {
    const reply = await this.#get(`/api/results/${pathPart(moderationId)}`, options);
    return moderation(reply.document, reply.requestId);
  }

  /** Judge one text, or the parts of one input, or many texts: scores 0 to 1 per category. */
  moderate(input: string | InputPart[], options?: ModerateOptions): Promise<Verdict>;
  moderate(input: string[], options?: ModerateOptions): Promise<Verdict[]>;
  async moderate(input: Input, options: ModerateOptions = {}): Promise<Verdict | Verdict[]> {
    const body = snake({ input, model: options.model, user: options.user });
    const found = verdicts(await this.#post("/v1/moderations", body, options));
    const many = Array.isArray(input) && typeof input[0] !== "object";
    return many ? found : (found[0] as Verdict);
  }

  /** Judge many texts: results in their order, or with `background: true` a Job that goes on. */
  moderateBatch(
    contents: string[],
    options: ContentBatchOptions & { background: true },
  ): Promise<BatchJob>;
  moderateBatch(
    contents: string[],
    options?: ContentBatchOptions & { background?: false },
  ): Promise<Moderation[]>;
  moderateBatch(
    contents: string[],
    options?: ContentBatchOptions,
  ): Promise<BatchJob | Moderation[]>;
  async moderateBatch(
    contents: string[],
    options: ContentBatchOptions = {},
  ): Promise<BatchJob | Moderation[]> {
    if (!Array.isArray(contents)) {
      throw new TypeError("this takes a list of texts; for one text there is moderateContent");
    }
    const background = options.background ?? false;
    const body = contentBody({ contents, background }, options);
    if (!background) {
      const patient = { timeout: Math.max(this.#transport.timeout, BATCH_TIMEOUT), ...options };
      return moderations(await this.#post("/api/moderate/batch", body, patient));
    }
    const reply = await this.#post("/api/moderate/batch", body, options);
    const state = named<BatchStatus>(reply, {});
    return new Job(
      state.jobId,
      state,
      contentBatchSource(this, state.jobId),
      this.#transport.clock,
    );
  }

  /** How far a batch of `moderateBatch` is. */
  async getBatchStatus(jobId: string, options: CallOptions = {}): Promise<BatchStatus> {
    const path = `/api/moderate/batch/${pathPart(jobId)}/status`;
    return named(await this.#get(path, options), {});
  }

  /** The results of a batch of `moderateBatch`, in order. ConflictError before it has completed. */
  async getBatchResults(jobId: string, options: CallOptions = {}): Promise<Moderation[]> {
    const path = `/api/moderate/batch/${pathPart(jobId)}/results`;
    return moderations(await this.#get(path, options));
  }

  /** Whether the server is well; with a key every check, memory and processor. */
  async getHealth(options: CallOptions = {}): Promise<Health> {
    return named(await this.#get("/api/health", options), HEALTH);
  }

  /** Requests, errors, durations, cache and system, as the server has counted them. */
  async getMetrics(options: CallOptions = {}): Promise<Metrics> {
    return named(await this.#get("/api/metrics", options), METRICS);
  }

  /** The state of the server's cache. */
  async getCacheStats(options: CallOptions = {}): Promise<CacheStats> {
    return named(await this.#get("/api/cache/stats", options), CACHE);
  }

  /** Forget cached answers: all of them, or those that a pattern, tag or age names. */
  async clearCache(options: ClearOptions = {}): Promise<Cleared> {
    const { pattern, tag, namespace, olderThanSeconds } = options;
    const body = snake({ pattern, tag, namespace, olderThanSeconds });
    return named(await this.#post("/v1/cache/clear", body, options), {});
  }

  /** Whether the server answers and takes the key. Says nothing of why not: any other call does. */
  async testConnection(options: CallOptions = {}): Promise<boolean> {
    try {
      await this.#get("/v1/keys/current", { maxRetries: 0, ...options });
      return true;
    } catch (error) {
      if (error instanceof PenstockError && error.name !== "AbortError") {
        return false;
      }
      throw error;
    }
  }

  /** A job of the task queue, with its result when it has one. */
  async getJob(jobId: string, options: CallOptions = {}): Promise<TaskJob> {
    return this.#job(named(await this.#get(`/v1/jobs/${pathPart(jobId)}`, options), JOB));
  }

  /** Wait for a job by its id: its last state, or JobFailedError. */
  async waitForJob(jobId: string, options: WaitOptions<JobInfo> = {}): Promise<JobInfo> {
    return (await this.getJob(jobId, signalOf(options))).wait(options);
  }

  /** Jobs, newest first: one's own, or everybody's for administrators. */
  listJobs(filter: JobFilter = {}): Paged<TaskJob> {
    const read = (item: unknown) => this.#job(camel(item, JOB) as JobInfo);
    return new Paged(this.#pages("/v1/jobs", jobQuery(filter), filter, read));
  }

  /** Cancel a job. One that runs is asked to end and may take a moment. */
  async cancelJob(jobId: string, options: CallOptions = {}): Promise<TaskJob> {
    const path = `/v1/jobs/${pathPart(jobId)}/cancel`;
    return this.#job(named(await this.#post(path, undefined, options), JOB));
  }

  /** Queue a failed, cancelled or expired job anew. */
  async retryJob(jobId: string, options: CallOptions = {}): Promise<TaskJob> {
    const path = `/v1/jobs/${pathPart(jobId)}/retry`;
    return this.#job(named(await this.#post(path, undefined, options), JOB));
  }

  /** Have many requests answered in the background, by any endpoint that takes batches. */
  async createBatch(batch: NewBatch): Promise<Batch> {
    return this.#batch(await this.#post("/v1/batches", batchBody(batch), batch));
  }

  /** A batch of `createBatch`. */
  async getBatch(batchId: string, options: CallOptions = {}): Promise<Batch> {
    const path = `/v1/batches/${pathPart(batchId)}`;
    return this.#batch(await this.#get(path, options));
  }

  /** Wait for a batch of `createBatch` by its id: its last state, or JobFailedError. */
  async waitForBatch(batchId: string, options: WaitOptions<BatchInfo> = {}): Promise<BatchInfo> {
    return (await this.getBatch(batchId, signalOf(options))).wait(options);
  }

  /** Cancel a batch. What is answered stays answered. */
  async cancelBatch(batchId: string, options: CallOptions = {}): Promise<Batch> {
    const path = `/v1/batches/${pathPart(batchId)}/cancel`;
    return this.#batch(await this.#post(path, undefined, options));
  }

  /**
   * The outcomes of a batch's requests in their order, fetched while they are read. Of a batch that
   * still runs the later ones are waited for, over a restart of the server too.
   */
  batchResults(batchId: string, options: ListOptions = {}): Paged<BatchResult> {
    const path = `/v1/batches/${pathPart(batchId)}/results`;
    const fetch = this.#pages(path, { limit: options.pageSize }, options, batchResult);
    return new Paged(growing(fetch, this.#transport.clock, options));
  }

  #get(path: string, options: CallOptions, query?: Query): Promise<Reply> {
    return this.#call({ method: "GET", path, options, ...(query && { query }) });
  }

  #post(path: string, body: unknown, options: CallOptions): Promise<Reply> {
    return this.#call({ method: "POST", path, body, options });
  }

  async #call(call: Call): Promise<Reply> {
    try {
      return await this.#transport.call(call);
    } catch (error) {
      throw error instanceof NotFoundError ? explained(error, call.path) : error;
    }
  }

  #pages<T>(
    path: string,
    query: Query,
    options: CallOptions,
    read: (item: unknown) => T,
  ): Fetch<T> {
    return async (cursor) => {
      const { document, requestId } = await this.#get(path, options, { ...query, cursor });
      const next = typeof document.next === "string" ? document.next : null;
      return { items: list(document, "items").map(read), next, requestId };
    };
  }

  #job(info: JobInfo): TaskJob {
    return new Job(info.id, info, jobSource(this, info.id), this.#transport.clock);
  }

  #batch(reply: Reply): Batch {
    const info = batchInfo(reply);
    return new Job(info.id, info, batchSource(this, info.id), this.#transport.clock);
  }
}

/** The answer's document with camelCase fields, and the request id unless it has one itself. */
function named<T>(reply: Reply, shape: Shape): T {
  return { requestId: reply.requestId, ...(camel(reply.document, shape) as T) };
}

const BATCH_ID = "this is a batch's id: use getBatch, waitForBatch or cancelBatch";
const JOB_ID = "this is a job's id: use getJob, waitForJob or cancelJob";
const MIXED_UP: Record<string, string> = {
  "/v1/jobs/batch_": BATCH_ID,
  "/v1/batches/job_": JOB_ID,
  "/api/moderate/batch/job_": JOB_ID,
};

/** The error, with a word where a batch's id was taken for a job's or the other way round. */
function explained(error: NotFoundError, path: string): NotFoundError {
  const start = Object.keys(MIXED_UP).find((one) => path.startsWith(one));
  return start ? new NotFoundError(`${error.detail}; ${MIXED_UP[start]}`, error) : error;
}

function signalOf({ signal }: WatchOptions): CallOptions {
  return signal ? { signal } : {};
}
