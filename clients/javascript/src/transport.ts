/** One HTTP call: headers, time limit, abort, retries and errors. Knows nothing of moderation. */

import { aborted, type Clock, sleep, systemClock } from "./clock.js";
import { address, type ClientOptions, count, fromOutside, seconds, token } from "./config.js";
import {
  APIError,
  ConnectionError,
  document,
  errorOf,
  InvalidAnswerError,
  PenstockError,
  TimeoutError,
} from "./errors.js";
import type { Document } from "./naming.js";

const FIRST_WAIT = 500; // milliseconds before the first retry; doubles with each
const LONGEST_WAIT = 8_000;
const LONGEST_ASKED = 60_000; // a Retry-After beyond is not obeyed: the caller waits for an answer
const JITTER = 0.25; // share of the wait that chance takes off

/** What every call takes. */
export interface CallOptions {
  /** Ends the call, its retries and its waiting. */
  signal?: AbortSignal;
  /** Seconds for one try. */
  timeout?: number;
  /** Further tries after connection errors and answers 408, 429 and 5xx. */
  maxRetries?: number;
  /** One key for all tries of a POST, so that the server does the work once; made when not given. */
  idempotencyKey?: string;
  /** Further headers. From a page, the server's CORS rules must allow them. */
  headers?: Record<string, string>;
}

export type Query = Record<string, string | number | readonly string[] | undefined>;

export interface Call {
  method: "GET" | "POST";
  path: string;
  query?: Query;
  body?: unknown;
  options?: CallOptions | undefined;
}

/** An answer's document, and the request id under which the server's log has it. */
export interface Reply {
  document: Document;
  requestId: string | null;
}

export class Transport {
  readonly clock: Clock;
  readonly baseUrl: string;
  readonly timeout: number; // seconds
  readonly #apiKey: string | undefined;
  readonly #maxRetries: number;
  readonly #given: Record<string, string>;
  readonly #fetch: typeof fetch;

  constructor(options: ClientOptions = {}) {
    this.clock = options.clock ?? systemClock;
    this.baseUrl = address(
      options.baseUrl || fromOutside("PENSTOCK_URL") || "http://127.0.0.1:8000",
    );
    this.#apiKey = token(options.apiKey ?? fromOutside("PENSTOCK_KEY"));
    this.#given = options.headers ?? {};
    this.timeout = options.timeout ?? 60;
    seconds(this.timeout);
    this.#maxRetries = count(options.maxRetries ?? 2);
    const given = options.fetch ?? globalThis.fetch;
    if (typeof given !== "function") {
      throw new TypeError("there is no global fetch here; pass one: new Penstock({ fetch })");
    }
    this.#fetch = (input, init) => given(input, init); // a browser's fetch refuses another `this`
  }

  /** Send, try again where that may help, and return the answer's document. */
  async call(call: Call): Promise<Reply> {
    const options = call.options ?? {};
    const key = call.method === "POST" ? (options.idempotencyKey ?? uuid()) : undefined;
    const retries = count(options.maxRetries ?? this.#maxRetries);
    for (let tried = 0; ; tried += 1) {
      try {
        return await this.#once(call, key);
      } catch (error) {
        if (tried >= retries || !mayHelp(error)) {
          throw error;
        }
        await sleep(this.clock, this.#wait(tried, error), options.signal);
      }
    }
  }

  async #once(call: Call, key: string | undefined): Promise<Reply> {
    const { signal, timeout } = call.options ?? {};
    if (signal?.aborted) {
      throw aborted(signal);
    }
    const limit = seconds(timeout ?? this.timeout);
    const body = call.body === undefined ? {} : { body: JSON.stringify(call.body) };
    const ending = new Ending(this.clock, limit, signal);
    try {
      const response = await this.#fetch(this.baseUrl + call.path + queryOf(call), {
        method: call.method,
        headers: this.#headers(call, key),
        signal: ending.signal,
        redirect: "manual", // the key, and headers of the caller's own, are for this server alone
        ...body,
      });
      return this.#read(response, await response.text());
    } catch (error) {
      throw this.#named(error, ending, limit);
    } finally {
      ending.close();
    }
  }

  #headers(call: Call, key: string | undefined): Record<string, string> {
    const headers: Record<string, string> = {
      accept: "application/json",
      ...lower(this.#given),
      ...lower(call.options?.headers ?? {}),
    };
    if (this.#apiKey !== undefined) {
      headers.authorization = `Bearer ${this.#apiKey}`;
    }
    if (call.body !== undefined) {
      headers["content-type"] = "application/json";
    }
    if (key !== undefined) {
      headers["idempotency-key"] = key;
    }
    return headers;
  }

  #read(response: Response, body: string): Reply {
    if (response.type === "opaqueredirect") {
      throw new InvalidAnswerError(
        `${this.baseUrl} sends its callers elsewhere; call that address`,
      );
    }
    const requestId = response.headers.get("x-request-id");
    if (!response.ok) {
      const retryAfter = this.#asked(response.headers.get("retry-after"));
      throw errorOf({ status: response.status, requestId, retryAfter }, body);
    }
    const found = document(body);
    if (found === undefined) {
      throw new InvalidAnswerError(
        `${this.baseUrl} answered with something that is not a JSON object; ` +
          "is it the address of a Penstock server?",
      );
    }
    return { document: found, requestId };
  }

  #named(error: unknown, ending: Ending, limit: number): unknown {
    if (error instanceof PenstockError) {
      return error;
    }
    if (ending.reason === "aborted") {
      return aborted(ending.given as AbortSignal);
    }
    if (ending.reason === "timeout") {
      return new TimeoutError(`no answer from ${this.baseUrl} within ${limit / 1000} s`);
    }
    const why = causeOf(error);
    return new ConnectionError(`no connection to ${this.baseUrl}: ${why}`, { cause: error });
  }

  /** Seconds of a Retry-After: a number, or a date. */
  #asked(header: string | null): number | null {
    if (header === null) {
      return null;
    }
    const number = Number(header);
    const asked = Number.isNaN(number) ? (Date.parse(header) - this.clock.now()) / 1000 : number;
    return Number.isNaN(asked) ? null : Math.max(0, asked);
  }

  #wait(tried: number, error: unknown): number {
    const asked = error instanceof APIError ? error.retryAfter : null;
    if (asked !== null) {
      return Math.min(asked * 1000, LONGEST_ASKED);
    }
    const wait = Math.min(FIRST_WAIT * 2 ** tried, LONGEST_WAIT);
    return wait * (1 - JITTER * this.clock.random());
  }
}

/** Ends a try: by its time limit or by the caller's signal (AbortSignal.any is not in Node 18). */
class Ending {
  readonly #controller = new AbortController();
  readonly #takeBack: () => void;
  reason: "timeout" | "aborted" | undefined;

  constructor(
    clock: Clock,
    limit: number,
    readonly given: AbortSignal | undefined,
  ) {
    this.#takeBack = clock.after(limit, () => this.#end("timeout"));
    given?.addEventListener("abort", this.#onAbort);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  close(): void {
    this.#takeBack();
    this.given?.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = (): void => this.#end("aborted");

  #end(reason: "timeout" | "aborted"): void {
    this.reason ??= reason;
    this.#controller.abort();
  }
}

/** Whether the same request may succeed a little later. */
function mayHelp(error: unknown): boolean {
  if (error instanceof ConnectionError) {
    return true;
  }
  if (!(error instanceof APIError)) {
    return false;
  }
  if (error.status === 409) {
    return error.retryAfter !== null; // the same request is being answered just now
  }
  return error.status === 408 || error.status === 429 || error.status >= 500;
}

function queryOf(call: Call): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(call.query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) {
        query.append(name, String(one));
      }
    }
  }
  const text = query.toString();
  return text && `?${text}`;
}

/** fetch says "fetch failed" and keeps the reason in the cause. */
function causeOf(error: unknown): string {
  const { message, cause } = error as { message?: string; cause?: unknown };
  const { code, message: inner } = (cause ?? {}) as { code?: string; message?: string };
  return code ?? (inner || message || String(error));
}

/** A random id. crypto.randomUUID is missing in Node 18 and on pages without https. */
function uuid(): string {
  const bytes = new Uint8Array(16);
  if (globalThis.crypto?.getRandomValues) {
    globalThis.crypto.getRandomValues(bytes);
  } else {
    bytes.forEach((_, index) => (bytes[index] = Math.floor(Math.random() * 256)));
  }
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function lower(headers: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([k, v]) => [k.toLowerCase(), v]));
}
