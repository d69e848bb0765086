/** What the server answers, as JavaScript sees it. */

/** Every answer carries the id under which the server's log has the request. */
export interface Answered {
  requestId: string | null;
}

/** Why one item of a batch has no result. */
export interface ItemError {
  code: string;
  message: string;
}

/** A: approved, M: to be reviewed by a person, R: rejected. */
export type FinalDecision = "A" | "M" | "R";

/**
 * What was decided about one text, in FIST's words. In a batch `error` says why a text could not be
 * judged; its decision is M then, and its probability of 50 says nothing.
 */
export interface Moderation extends Answered {
  moderationId: string;
  finalDecision: FinalDecision;
  /** Percent, 0 to 100. */
  inappropriateProbability: number;
  aiReason: string;
  reason: string;
  fromCache: boolean;
  createdAt: string | null;
  /** SHA-256 of the text, hexadecimal. */
  contentHash: string;
  wordCount: number;
  /** Share of the words that a paid model was sent, 0 to 1. */
  percentageUsed: number;
  error: ItemError | null;
}

/** FIST's words; `cancelled` is told by a job's `wait`, the server calls that failed here. */
export type BatchState = "pending" | "processing" | "completed" | "failed" | "cancelled";

/** A batch in FIST's words. */
export interface BatchStatus extends Answered {
  jobId: string;
  status: BatchState;
  totalItems: number;
  processedItems: number;
  /** 0 to 100, never falling. */
  progressPercent: number;
  createdAt: string;
  startedAt: string | null;
  completedAt: string | null;
  elapsedSeconds: number;
  estimatedRemainingSeconds: number | null;
  /** Items that could not be judged. */
  errorCount: number;
}

export type Decision = "approved" | "review" | "rejected";

/** Where an answer came from and what it cost. */
export interface Receipt {
  source: string;
  ageSeconds: number;
  stale: boolean;
  queueWaitSeconds: number;
  stages: Record<string, number>;
  models: Record<string, string>;
  tokens: { in: number; out: number; saved: number };
  cost: { spentMicros: number; savedMicros: number; currency: string };
}

/** A place in the text, offsets in code points, and what it speaks for. */
export interface Span {
  start: number;
  end: number;
  category: string;
  score: number;
  stage: string;
  rule: string;
}

/** An entry of a list that was found, offsets in code points. */
export interface ListHit {
  listId: string;
  listName: string;
  listKind: "block" | "allow" | "review";
  entryId: number;
  start: number;
  end: number;
}

/** What was decided about one input. The keys of the three tables are categories. */
export interface Verdict extends Answered {
  flagged: boolean;
  categories: Record<string, boolean>;
  categoryScores: Record<string, number>;
  categoryAppliedInputTypes: Record<string, string[]>;
  id: string;
  decision: Decision;
  reason: string;
  /** 0 to 1, over all categories. */
  risk: number;
  spans: Span[];
  /** "en", another code, or "und" and "other" where nobody could say. */
  language: string;
  policy: { id: string; version: string };
  receipt: Receipt;
  /** Whether the scores were known before; the policy decides anew each time. */
  fromCache: boolean;
  recorded: boolean;
  degraded: { code: string; detail: string } | null;
  rationale: string;
  /** What block, review and allow lists made of it, and the entries that were found. */
  listed: { decision: Decision | null; hits: ListHit[] } | null;
}

/** Text or image of a multi-part input. */
export type InputPart =
  { type: "text"; text: string } | { type: "image_url"; image_url: { url: string } };

/** Whether the server is well; checks and figures only for holders of a key. */
export interface Health extends Answered {
  /** healthy, degraded or unhealthy */
  status: string;
  /** By name. */
  checks?: Record<string, Check> | null;
  system?: SystemUsage | null;
}

/** One part of the server: how it is, and what to do about it. */
export interface Check {
  status: string;
  detail: string;
  fix: string;
}

/** The machine and the server's process. */
export interface SystemUsage {
  cpuRatio: number | null;
  cpuCount: number;
  memoryUsedBytes: number | null;
  memoryTotalBytes: number | null;
  diskUsedBytes: number | null;
  diskTotalBytes: number | null;
  processMemoryBytes: number | null;
  source: string;
}

/** What the server has counted since it started. */
export interface Metrics extends Answered {
  enabled: boolean;
  /** of the process that answered, or of all servers and workers since midnight UTC */
  scope: "process" | "all";
  since: string | null;
  othersBehindSeconds: number;
  requests: { total: number; errors: number; errorRate: number };
  responseTimeSeconds: Spread;
  moderation: { verdicts: number; modelCalls: number; degraded: number };
  cache: { hits: number; misses: number; hitRate: number };
  batch: Record<string, unknown> | null;
  jobs: {
    /** by queue; null while that cannot be told */
    queued: Record<string, number> | null;
    completed: number;
    failed: number;
    cancelled: number;
    expired: number;
    retries: number;
    waitSeconds: Spread;
    runSeconds: Spread;
  };
  system: SystemUsage;
}

/** Seconds. */
export interface Spread {
  average: number;
  p50: number;
  p95: number;
  p99: number;
}

/** One tier of the cache. */
export interface TierStats {
  entries: number;
  sizeBytes: number;
  maxBytes: number | null;
  hits: number;
  misses: number;
  writes: number;
  evictions: number;
  expired: number;
  errors: number;
  skipped: number;
  dropped: number;
  /** up, or what is wrong */
  state: string;
  detail: string | null;
}

/** The state of the cache; `tiers` by name. */
export interface CacheStats extends Answered {
  enabled: boolean;
  connected: boolean;
  keys: number;
  memoryBytes: number;
  hits: number;
  misses: number;
  hitRate: number;
  tiers: Record<string, TierStats>;
}

/** What was forgotten. */
export interface Cleared extends Answered {
  status: string;
  clearedEntries: number;
  deletedCount: number;
  pattern: string | null;
  message: string;
  timestamp: string;
}

export type JobState = "queued" | "running" | "completed" | "failed" | "cancelled" | "expired";

export interface Progress {
  done: number;
  total: number;
  failed: number;
  cached: number;
  note: string;
}

/** Why one attempt did not succeed. */
export interface JobError {
  type: string;
  message: string;
  at: string;
  attempt: number;
  /** For administrators. */
  traceback: string | null;
}

/** One run of a task. */
export interface JobInfo {
  id: string;
  task: string;
  queue: string;
  /** 0 is first, 9 last. */
  priority: number;
  state: JobState;
  owner: string | null;
  key: string | null;
  batchId: string | null;
  attempt: number;
  maxAttempts: number;
  runAt: string;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  progress: Progress;
  /** In `getJob` only; lists leave it out. */
  result?: unknown;
  error: JobError | null;
  /** Of the last attempts, the newest last. */
  errors: JobError[];
  /** Of the request that asked for the job. */
  requestId: string | null;
  traceId: string | null;
  /** Cancel was asked for and the function still runs. */
  cancelling: boolean;
  worker: string | null;
  /** What a queued job lacks, where that is known. */
  waitingFor: string | null;
}

/** OpenAI's words for a batch. */
export type OpenBatchState =
  | "validating"
  | "in_progress"
  | "finalizing"
  | "completed"
  | "failed"
  | "expired"
  | "cancelling"
  | "cancelled";

/** How far a batch is; `failed` and `cached` are among `done`. */
export interface BatchProgress {
  done: number;
  total: number;
  failed: number;
  cached: number;
  ratePerSecond: number;
  etaSeconds: number | null;
  percent: number;
}

/** What is wrong with one line of an input file. */
export interface FileError extends ItemError {
  line: number | null;
  param: string | null;
}

/** OpenAI's batch object with Penstock's progress; instants are seconds since 1970. */
export interface BatchInfo extends Answered {
  id: string;
  endpoint: string;
  status: OpenBatchState;
  /** Of the job in the task queue that works through it. */
  jobId: string | null;
  progress: BatchProgress;
  requestCounts: { total: number; completed: number; failed: number };
  object: "batch";
  inputFileId: string | null;
  outputFileId: string | null;
  errorFileId: string | null;
  completionWindow: string;
  createdAt: number;
  inProgressAt: number | null;
  expiresAt: number;
  finalizingAt: number | null;
  completedAt: number | null;
  failedAt: number | null;
  expiredAt: number | null;
  cancellingAt: number | null;
  cancelledAt: number | null;
  /** What is wrong with the input file. */
  errors: FileError[];
  /** As it was given. */
  metadata: Record<string, string> | null;
}

/** The outcome of one request of a batch; `body` is what its endpoint answered, as it was sent. */
export interface BatchResult {
  customId: string | null;
  statusCode: number | null;
  body: unknown;
  error: ItemError | null;
}
