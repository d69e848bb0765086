/** A handle on work that goes on in the server: watch it, wait for it, stop it, take its results. */

import type { Clock } from "./clock.js";
import { JobCancelledError, JobFailedError, WaitTimeoutError } from "./errors.js";
import type { CallOptions } from "./transport.js";
import { Watch, type WatchOptions } from "./watch.js";

export interface WaitOptions<S> extends WatchOptions {
  /** Called with every state that differs from the one before. */
  onProgress?: (state: S) => void;
}

export type Ended = "completed" | "failed" | "cancelled";

/** How a kind of job is asked. */
export interface Source<S, R> {
  read(options: CallOptions): Promise<S>;
  cancel(options: CallOptions): Promise<S>;
  results(options: CallOptions): R;
  /** The state in one word. */
  word(state: S): string;
  /** How it ended; undefined: it goes on. */
  ended(state: S): Ended | undefined;
  /** Two states with the same mark are no progress: the time that runs is not. */
  mark(state: S): string;
  /** Why it failed, as far as the state says. */
  reason(state: S): string | undefined;
}

/**
 * A job and what is known of it. `S` is what the server tells about it, `R` what `results` gives.
 *
 * Watching asks again and again, ever more slowly: after a tenth of the time that it has watched,
 * between 0.1 and 2 s.
 */
export class Job<S, R> {
  /** A batch's id (`batch_...`) or a job's (`job_...`), whichever it was made of. */
  readonly id: string;
  readonly #source: Source<S, R>;
  readonly #clock: Clock;
  #latest: S;

  constructor(id: string, latest: S, source: Source<S, R>, clock: Clock) {
    this.id = id;
    this.#latest = latest;
    this.#source = source;
    this.#clock = clock;
  }

  /** `id`, by the name that FIST has for it. */
  get jobId(): string {
    return this.id;
  }

  /** What the server told last; `refresh` asks again. */
  get latest(): S {
    return this.#latest;
  }

  /** The state in one word, as it was told last. */
  get status(): string {
    return this.#source.word(this.#latest);
  }

  /** Whether nothing will change any more. */
  get done(): boolean {
    return this.#source.ended(this.#latest) !== undefined;
  }

  /** Ask the server how the job is. */
  async refresh(options: CallOptions = {}): Promise<S> {
    this.#latest = await this.#source.read(options);
    return this.#latest;
  }

  /** Every state that differs from the one before, from now to the last. Leaving it ends nothing. */
  async *progress(options: WatchOptions = {}): AsyncGenerator<S, void, undefined> {
    const watch = new Watch(this.#clock, options);
    let seen: string | undefined;
    for (;;) {
      const state = this.done
        ? this.#latest
        : await watch.look((lookOptions) => this.refresh(lookOptions));
      const mark = state === undefined ? seen : this.#source.mark(state);
      if (state !== undefined && mark !== seen) {
        seen = mark;
        yield state;
      }
      if (this.done) {
        return;
      }
      if (watch.over) {
        const so = `${this.id} is ${this.status} after ${options.timeout} s of waiting`;
        throw new WaitTimeoutError(`${so}; it goes on`);
      }
      await watch.rest();
    }
  }

  /**
   * Return the last state when the job has completed. JobFailedError and JobCancelledError say that
   * it has not, WaitTimeoutError that it goes on.
   */
  async wait(options: WaitOptions<S> = {}): Promise<S> {
    for await (const state of this.progress(options)) {
      options.onProgress?.(state);
    }
    const state = this.#latest;
    const ended = this.#source.ended(state);
    if (ended === "completed") {
      return state;
    }
    const reason = this.#source.reason(state);
    const message = `${this.id} is ${this.status}${reason ? `: ${reason}` : ""}`;
    throw new (ended === "cancelled" ? JobCancelledError : JobFailedError)(message, state);
  }

  /** Stop the job. What it has finished stays. */
  async cancel(options: CallOptions = {}): Promise<S> {
    this.#latest = await this.#source.cancel(options);
    return this.#latest;
  }

  /** What came out. ConflictError while the job goes on: `wait` first. */
  results(options: CallOptions = {}): R {
    return this.#source.results(options);
  }
}
