/** Which fields of the server's documents are documents again; all others are data. */

import type { Shape } from "./naming.js";

export const VERDICT: Shape = {
  penstock: {
    spans: {},
    policy: {},
    receipt: { tokens: {}, cost: {} },
    degraded: {},
    listed: { hits: {} },
  },
};
export const HEALTH: Shape = { checks: { "*": {} }, system: {} };
export const CACHE: Shape = { tiers: { "*": {} } };
export const METRICS: Shape = {
  requests: {},
  response_time_seconds: {},
  moderation: {},
  cache: {},
  batch: {},
  jobs: { wait_seconds: {}, run_seconds: {} }, // names of queues stay as they are
  system: {},
};
export const JOB: Shape = { progress: {}, error: {}, errors: {} };
export const BATCH: Shape = { request_counts: {}, penstock: { progress: {} } };
