/**
 * Every error of the client, in one tree; the Python client has the same.
 *
 *     PenstockError
 *     ├── ConnectionError           no answer: refused or cut
 *     │   └── TimeoutError          the call's time was up
 *     ├── InvalidAnswerError        an answer that is not one of a Penstock server
 *     ├── AbortedError              the caller's AbortSignal; `name` is "AbortError", as fetch has it
 *     ├── WaitTimeoutError          a job was not done within `wait({ timeout })`; it goes on
 *     ├── JobFailedError            the job ended without a result
 *     │   └── JobCancelledError     it was cancelled, or its time ran out before it began
 *     └── APIError                  the server answered with an error: status, code, requestId
 *         ├── BadRequestError       400
 *         ├── AuthenticationError   401   no valid API key
 *         ├── PermissionDeniedError 403   the key's role does not allow it, or it is someone else's
 *         ├── NotFoundError         404
 *         ├── ConflictError         409   does not fit the present state
 *         ├── TooLargeError         413
 *         ├── InvalidInputError     422   `errors` says which field is wrong
 *         ├── RateLimitError        429   `retryAfter` in seconds
 *         └── ServerError           5xx
 *
 * No message holds the key or a text that was sent.
 */

import { type Document, isDocument } from "./naming.js";

/** Something went wrong between the caller and the server. */
export class PenstockError extends Error {
  static {
    this.prototype.name = "PenstockError";
  }
}

/** No answer came: the connection was refused or cut. */
export class ConnectionError extends PenstockError {
  static {
    this.prototype.name = "ConnectionError";
  }
}

/** The call's time was up. */
export class TimeoutError extends ConnectionError {
  static {
    this.prototype.name = "TimeoutError";
  }
}

/** What came back cannot be understood. */
export class InvalidAnswerError extends PenstockError {
  static {
    this.prototype.name = "InvalidAnswerError";
  }
}

/** The caller's AbortSignal ended the call; `cause` is the signal's reason. */
export class AbortedError extends PenstockError {
  static {
    this.prototype.name = "AbortError";
  }
}

/** The job was not done in the time that `wait` was given. It goes on: wait again, or cancel it. */
export class WaitTimeoutError extends PenstockError {
  static {
    this.prototype.name = "WaitTimeoutError";
  }
}

/** The job ended without a result; `job` is its last state. */
export class JobFailedError extends PenstockError {
  static {
    this.prototype.name = "JobFailedError";
  }

  constructor(
    message: string,
    readonly job: unknown,
  ) {
    super(message);
  }
}

/** The job was cancelled, or its time ran out before it began. */
export class JobCancelledError extends JobFailedError {
  static {
    this.prototype.name = "JobCancelledError";
  }
}

/** What is wrong where: a JSON pointer (RFC 6901) into the request and the reason. */
export interface FieldError {
  pointer: string;
  detail: string;
}

/** What an error answer said. */
export interface Answer {
  status: number;
  problem: Document;
  requestId: string | null;
  retryAfter: number | null;
}

/** The server answered with an error. */
export class APIError extends PenstockError {
  static {
    this.prototype.name = "APIError";
  }

  /** HTTP status. */
  readonly status: number;
  /** What happened and what to do, in the server's words. */
  readonly detail: string;
  /** The last part of the problem's type: `not_found`, `rate_limited`. */
  readonly code: string | null;
  /** Under this id the server's log says more. */
  readonly requestId: string | null;
  /** Seconds after which the server asks to come again. */
  readonly retryAfter: number | null;
  /** The whole document (RFC 9457); empty when something else answered. */
  readonly problem: Document;

  constructor(detail: string, answer: Answer) {
    const { status, requestId, retryAfter, problem } = answer;
    super(`${status}: ${detail}${requestId ? ` (request ${requestId})` : ""}`);
    this.status = status;
    this.detail = detail;
    this.code = slug(problem);
    this.requestId = requestId;
    this.retryAfter = retryAfter;
    this.problem = problem;
  }

  /** The fields that are wrong, where the server named them. */
  get errors(): FieldError[] {
    const { errors } = this.problem;
    return Array.isArray(errors) ? (errors as FieldError[]) : [];
  }
}

/** 400: the request cannot be served as it is. */
export class BadRequestError extends APIError {
  static {
    this.prototype.name = "BadRequestError";
  }
}

/** 401: the request carries no valid API key. */
export class AuthenticationError extends APIError {
  static {
    this.prototype.name = "AuthenticationError";
  }
}

/** 403: the key's role does not allow this, or the thing is someone else's. */
export class PermissionDeniedError extends APIError {
  static {
    this.prototype.name = "PermissionDeniedError";
  }
}

/** 404: there is nothing under this id or address. */
export class NotFoundError extends APIError {
  static {
    this.prototype.name = "NotFoundError";
  }
}

/** 409: the request does not fit the present state. */
export class ConflictError extends APIError {
  static {
    this.prototype.name = "ConflictError";
  }
}

/** 413: more than the server takes in one request. */
export class TooLargeError extends APIError {
  static {
    this.prototype.name = "TooLargeError";
  }
}

/** 422: the input does not have the expected form; `errors` says where. */
export class InvalidInputError extends APIError {
  static {
    this.prototype.name = "InvalidInputError";
  }
}

/** 429: the key's request limit is used up. */
export class RateLimitError extends APIError {
  static {
    this.prototype.name = "RateLimitError";
  }
}

/** 5xx: the server, or something behind it, failed. */
export class ServerError extends APIError {
  static {
    this.prototype.name = "ServerError";
  }
}

const BY_STATUS: Record<number, typeof APIError> = {
  400: BadRequestError,
  401: AuthenticationError,
  403: PermissionDeniedError,
  404: NotFoundError,
  409: ConflictError,
  413: TooLargeError,
  422: InvalidInputError,
  429: RateLimitError,
};

/** The error that an answer stands for; a proxy's page instead of a problem is no obstacle. */
export function errorOf(answer: Omit<Answer, "problem">, body: string): APIError {
  const problem = document(body) ?? {};
  const kind = BY_STATUS[answer.status] ?? (answer.status >= 500 ? ServerError : APIError);
  const detail = problem.detail || problem.title || "the answer says no more";
  const requestId = (problem.request_id as string | undefined) ?? answer.requestId;
  return new kind(String(detail), { ...answer, problem, requestId });
}

/** The JSON object that a text is, if it is one. */
export function document(body: string): Document | undefined {
  try {
    const found: unknown = JSON.parse(body);
    return isDocument(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

function slug({ type }: Document): string | null {
  const last = typeof type === "string" ? type.split("#")[1] : undefined;
  return last ? last.replaceAll("-", "_") : null;
}
