/** Time and chance, in one place: a test hands in its own and waits for nothing. */

import { AbortedError } from "./errors.js";

export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** 0 <= random() < 1, for the jitter of retries. */
  random(): number;
  /** Call `then` after so many milliseconds; the answer takes it back. */
  after(milliseconds: number, then: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  random: () => Math.random(),
  after(milliseconds, then) {
    const timer = setTimeout(then, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** Wait; an abort of the signal ends the wait with AbortedError. */
export function sleep(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(aborted(signal));
      return;
    }
    const onAbort = () => {
      takeBack();
      reject(aborted(signal as AbortSignal));
    };
    const takeBack = clock.after(milliseconds, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** The error of an aborted signal. */
export function aborted(signal: AbortSignal): AbortedError {
  return new AbortedError("the caller aborted the call", { cause: signal.reason });
}
