/** From the server's documents to results, where more changes than the names of fields. */

import { InvalidAnswerError } from "./errors.js";
import { camel, type Document, isDocument } from "./naming.js";
import type { BatchInfo, BatchResult, Moderation, Verdict } from "./results.js";
import { BATCH, VERDICT } from "./shapes.js";
import type { Reply } from "./transport.js";

const UNKNOWN = 50; // percent: neither
const CACHED = ["memory", "disk", "redis"];

/** FIST's result, alone or within FIST's response. */
export function moderation(found: unknown, requestId: string | null): Moderation {
  const outer = object(found, "result");
  const { ai_result, ...rest } = isDocument(outer.result) ? outer.result : outer;
  const judged = object(ai_result, "ai_result");
  return {
    fromCache: false, // a recorded result does not say
    ...(camel(rest) as Partial<Moderation>),
    requestId,
    inappropriateProbability: judged.inappropriate_probability as number,
    aiReason: judged.reason as string,
    error: null,
  } as Moderation;
}

/** The results of a batch in FIST's words, in the order of its texts. */
export function moderations({ document, requestId }: Reply): Moderation[] {
  const errors = (Array.isArray(document.errors) ? document.errors : []).filter(isDocument);
  return list(document, "results").map((item, index) =>
    item === null
      ? unjudged(errors.find((error) => error.index === index) ?? {}, requestId)
      : moderation(item, requestId),
  );
}

/** What stands for a text that the server could not judge: a person has to. */
function unjudged(error: Document, requestId: string | null): Moderation {
  const message = String(error.error ?? "there is no result");
  return {
    moderationId: "",
    finalDecision: "M",
    inappropriateProbability: UNKNOWN,
    aiReason: "",
    reason: message,
    fromCache: false,
    createdAt: null,
    contentHash: "",
    wordCount: 0,
    percentageUsed: 1,
    error: { code: String(error.code ?? ""), message },
    requestId,
  };
}

/** OpenAI's results, each with Penstock's block in place of beside it. */
export function verdicts({ document, requestId }: Reply): Verdict[] {
  return list(document, "results").map((item) => {
    const { penstock, ...rest } = camel(object(item, "results"), VERDICT) as Document;
    const verdict = { requestId, ...rest, ...object(penstock, "penstock") } as Verdict;
    return { ...verdict, fromCache: CACHED.includes(verdict.receipt.source) };
  });
}

/** OpenAI's batch object with Penstock's progress. */
export function batchInfo({ document, requestId }: Reply): BatchInfo {
  const { penstock, errors, ...rest } = camel(document, BATCH) as Document;
  const wrong = isDocument(errors) && Array.isArray(errors.data) ? errors.data : [];
  return { requestId, ...rest, errors: wrong, ...object(penstock, "penstock") } as BatchInfo;
}

/** One line of a batch's results. */
export function batchResult(found: unknown): BatchResult {
  const { custom_id, response, error } = object(found, "items");
  const { status_code, body } = isDocument(response) ? response : {};
  return {
    customId: (custom_id as string | undefined) ?? null,
    statusCode: (status_code as number | undefined) ?? null,
    body: body ?? null,
    error: (error as BatchResult["error"] | undefined) ?? null,
  };
}

/** A list that must be there. */
export function list(document: Document, field: string): unknown[] {
  const found = document[field];
  if (!Array.isArray(found)) {
    throw new InvalidAnswerError(`the answer is not understood: ${field} is no list`);
  }
  return found;
}

function object(found: unknown, field: string): Document {
  if (!isDocument(found)) {
    throw new InvalidAnswerError(`the answer is not understood: ${field} is no object`);
  }
  return found;
}
