/** Client of a Penstock server, for Node and browsers. */

export type { Batch, BatchJob, TaskJob } from "./client.js";
export { Penstock } from "./client.js";
export type { Clock } from "./clock.js";
export type { ClientOptions } from "./config.js";
export type { FieldError } from "./errors.js";
export {
  AbortedError,
  APIError,
  AuthenticationError,
  BadRequestError,
  ConflictError,
  ConnectionError,
  InvalidAnswerError,
  InvalidInputError,
  JobCancelledError,
  JobFailedError,
  NotFoundError,
  PenstockError,
  PermissionDeniedError,
  RateLimitError,
  ServerError,
  TimeoutError,
  TooLargeError,
  WaitTimeoutError,
} from "./errors.js";
export { type FistOptions, FistClient } from "./fist.js";
export { Job, type WaitOptions } from "./job.js";
export type {
  BatchRequest,
  ClearOptions,
  ContentBatchOptions,
  ContentOptions,
  JobFilter,
  ModerateOptions,
  NewBatch,
} from "./options.js";
export { type ListOptions, type Page, Paged } from "./pages.js";
export type * from "./results.js";
export type { CallOptions } from "./transport.js";
export type { WatchOptions } from "./watch.js";
