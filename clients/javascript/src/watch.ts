/** Looking at something again and again: how often, until when, and while the server is away. */

import { type Clock, sleep } from "./clock.js";
import { ConnectionError, RateLimitError, ServerError } from "./errors.js";
import type { CallOptions } from "./transport.js";

const SHORTEST_REST = 100; // milliseconds between two looks
const LONGEST_REST = 2_000;
const SHARE = 0.1; // of the time watched so far: so late, at most, is the end noticed
const AWAY_REST = 1_000; // between two looks while the server is away
const LONGEST_AWAY = 60_000; // it restarts, and the job goes on
const LONGEST_LOOK = 60_000;

/** How watching may end before the job does. */
export interface WatchOptions {
  /** Ends the watching, not the job. */
  signal?: AbortSignal;
  /** Seconds; then WaitTimeoutError. Default: no limit. */
  timeout?: number;
}

export class Watch {
  readonly #clock: Clock;
  readonly #signal: AbortSignal | undefined;
  readonly #begun: number;
  readonly #limit: number;
  #awaySince: number | undefined;
  #asked = 0; // milliseconds that the server wants to be left alone

  constructor(clock: Clock, options: WatchOptions) {
    this.#clock = clock;
    this.#signal = options.signal;
    this.#begun = clock.now();
    this.#limit = (options.timeout ?? Number.POSITIVE_INFINITY) * 1000;
  }

  /** Whether the time is up. */
  get over(): boolean {
    return this.#left <= 0;
  }

  /** What is seen; undefined while the server is away, which it may be for a minute. */
  async look<S>(read: (options: CallOptions) => Promise<S>): Promise<S | undefined> {
    const timeout = Math.max(1_000, Math.min(this.#left, LONGEST_LOOK)) / 1000;
    try {
      const state = await read({
        timeout,
        maxRetries: 0,
        ...(this.#signal && { signal: this.#signal }),
      });
      this.#awaySince = undefined;
      return state;
    } catch (error) {
      this.#bear(error);
      return undefined;
    }
  }

  /** Wait until it is time for the next look. */
  rest(): Promise<void> {
    const usual = Math.max(SHARE * (this.#clock.now() - this.#begun), SHORTEST_REST);
    const away = Math.min(Math.max(AWAY_REST, this.#asked), LONGEST_AWAY);
    const rest = this.#awaySince === undefined ? Math.min(usual, LONGEST_REST) : away;
    return sleep(this.#clock, Math.min(rest, this.#left), this.#signal);
  }

  get #left(): number {
    return this.#limit - (this.#clock.now() - this.#begun);
  }

  #bear(error: unknown): void {
    const told = error instanceof ServerError || error instanceof RateLimitError;
    if (!told && !(error instanceof ConnectionError)) {
      throw error;
    }
    const now = this.#clock.now();
    this.#awaySince ??= now;
    if (now - this.#awaySince > LONGEST_AWAY) {
      throw error;
    }
    this.#asked = told ? (error.retryAfter ?? 0) * 1000 : 0;
  }
}
