/** What the methods of the client take. */

import { type Document, snake } from "./naming.js";
import type { ListOptions } from "./pages.js";
import type { InputPart, JobState } from "./results.js";
import type { CallOptions, Query } from "./transport.js";

/** A text, texts, or the parts of one input. */
export type Input = string | string[] | InputPart[];

/** How one text is judged; what is not given is the server's default. */
export interface ContentOptions extends CallOptions {
  /** Shares of the words that a paid model is sent, by length: one more than there are thresholds. */
  percentages?: number[];
  /** Rising numbers of words. */
  thresholds?: number[];
  /** Percent: approved up to `low`, rejected beyond `high`. */
  probabilityThresholds?: { low?: number; high?: number };
}

export interface ContentBatchOptions extends ContentOptions {
  /** Answer at once with a Job; the server goes on by itself. */
  background?: boolean;
}

export interface ModerateOptions extends CallOptions {
  model?: string;
  /** The end user that the text is of: what is stored for it can be erased under this name. */
  user?: string;
}

/** Which entries to forget: what fulfils everything given; all entries when nothing is. */
export interface ClearOptions extends CallOptions {
  pattern?: string;
  tag?: string;
  namespace?: string;
  olderThanSeconds?: number;
}

/** Which jobs to list; those that fulfil everything given. */
export interface JobFilter extends ListOptions {
  state?: JobState | JobState[];
  queue?: string;
  task?: string;
  batchId?: string;
  /** For administrators: whose jobs. */
  owner?: string;
  createdAfter?: Date | string;
  createdBefore?: Date | string;
}

/** One request of a batch: `body` goes to the endpoint as it is. */
export interface BatchRequest {
  /** Yours, to recognise the result by. */
  customId?: string;
  body: Record<string, unknown>;
}

/** What a batch is made of: `requests`, or a file that was uploaded in OpenAI's form. */
export interface NewBatch extends CallOptions {
  /** Which endpoint answers each request. Default: /v1/moderations */
  endpoint?: string;
  requests?: BatchRequest[];
  inputFileId?: string;
  /** Yours; it comes back unchanged. */
  metadata?: Record<string, string>;
}

/** The body of a request for texts in FIST's words. */
export function contentBody(fields: Document, options: ContentOptions): Document {
  const { percentages, thresholds, probabilityThresholds } = options;
  return { ...fields, ...snake({ percentages, thresholds, probabilityThresholds }) };
}

/** The query of a list of jobs. */
export function jobQuery(filter: JobFilter): Query {
  const { state, queue, task, batchId, owner, pageSize: limit } = filter;
  const createdAfter = instant(filter.createdAfter);
  const createdBefore = instant(filter.createdBefore);
  const all = { state, queue, task, batchId, owner, limit, createdAfter, createdBefore };
  return snake(all) as Query;
}

/** The body of a new batch. */
export function batchBody(batch: NewBatch): Document {
  const { endpoint = "/v1/moderations", inputFileId, metadata } = batch;
  const requests = batch.requests?.map(({ customId, body }) => snake({ customId, body }));
  return snake({ endpoint, inputFileId, requests, metadata, completionWindow: "24h" });
}

/** An id as one part of a path; what would lead elsewhere is refused. */
export function pathPart(id: string): string {
  if (typeof id !== "string" || ["", ".", ".."].includes(id)) {
    throw new TypeError(`${JSON.stringify(id)} is no id`);
  }
  return encodeURIComponent(id);
}

function instant(given: Date | string | undefined): string | undefined {
  return given instanceof Date ? given.toISOString() : given;
}
