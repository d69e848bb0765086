/** Where the server is, whose key is sent, and what a client may be made with, checked. */

import type { Clock } from "./clock.js";

export interface ClientOptions {
  /** The token that `penstock token create` printed. Default: PENSTOCK_KEY, where there is one. */
  apiKey?: string;
  /** Where the server is. Default: PENSTOCK_URL, or http://127.0.0.1:8000 */
  baseUrl?: string;
  /** Seconds for one try. Default: 60 */
  timeout?: number;
  /** Further tries after connection errors and answers 408, 429 and 5xx. Default: 2 */
  maxRetries?: number;
  /** Further headers of every call. */
  headers?: Record<string, string>;
  /** In place of the global fetch. */
  fetch?: typeof fetch;
  /** Time and chance, for tests. */
  clock?: Clock;
}

export function address(baseUrl: string): string {
  let url: URL;
  try {
    url = new URL(baseUrl);
  } catch {
    throw new TypeError(`baseUrl is an address such as http://127.0.0.1:8000`);
  }
  if (!/^https?:$/.test(url.protocol) || url.username || url.search || url.hash) {
    throw new TypeError(
      "baseUrl is an address such as http://127.0.0.1:8000, without user, query or fragment",
    );
  }
  return (url.origin + url.pathname).replace(/\/+$/, "");
}

export function token(apiKey: string | undefined): string | undefined {
  const key = apiKey?.trim(); // a file's last line break
  if (key && !/^[!-~]+$/.test(key)) {
    throw new TypeError("the API key holds characters that no key has");
  }
  return key || undefined;
}

/** A variable of the environment; a page has none. */
export function fromOutside(name: string): string | undefined {
  const outside = globalThis as { process?: { env?: Record<string, string | undefined> } };
  return outside.process?.env?.[name];
}

/** A time limit in milliseconds. */
export function seconds(timeout: number): number {
  if (!(timeout > 0)) {
    throw new RangeError(`timeout is in seconds and above 0, not ${timeout}`);
  }
  return Math.min(timeout * 1000, 2 ** 31 - 1); // what setTimeout can hold
}

/** A number of retries. */
export function count(retries: number): number {
  if (!(Number.isInteger(retries) && retries >= 0)) {
    throw new RangeError(`maxRetries is a whole number from 0 on, not ${retries}`);
  }
  return retries;
}
