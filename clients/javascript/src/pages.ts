/** Lists that the server gives page by page, read as one. */

import type { Clock } from "./clock.js";
import type { CallOptions } from "./transport.js";
import { Watch } from "./watch.js";

/** One page; `next` leads to the page after it, null on the last one. */
export interface Page<T> {
  items: T[];
  next: string | null;
  requestId: string | null;
}

/** Asks for the page of a cursor, or for the first one. */
export type Fetch<T> = (cursor: string | undefined) => Promise<Page<T>>;

/**
 * A list that is fetched while it is read: `for await (const item of list)`, or whole pages by
 * `for await (const page of list.pages())`. Nothing is asked for until then.
 */
export class Paged<T> implements AsyncIterable<T> {
  readonly #fetch: Fetch<T>;

  constructor(fetch: Fetch<T>) {
    this.#fetch = fetch;
  }

  /** Whole pages, from the first one on, or from the `next` of a page that was read before. */
  async *pages(cursor?: string): AsyncGenerator<Page<T>, void, undefined> {
    for (let from = cursor; ;) {
      const page = await this.#fetch(from);
      yield page;
      if (page.next === null) {
        return;
      }
      from = page.next;
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for await (const page of this.pages()) {
      yield* page.items;
    }
  }

  /** Everything, in one array. */
  async toArray(): Promise<T[]> {
    const all: T[] = [];
    for await (const item of this) {
      all.push(item);
    }
    return all;
  }
}

/** Options of a list: how many entries a page has, and those of every call. */
export interface ListOptions extends CallOptions {
  pageSize?: number;
}

/**
 * The pages of a list that grows: an empty one with a next one is no page yet, and is asked for
 * again, also while the server is away for a minute. The signal ends the waiting.
 */
export function growing<T>(fetch: Fetch<T>, clock: Clock, { signal }: CallOptions): Fetch<T> {
  return async (cursor) => {
    const watch = new Watch(clock, signal ? { signal } : {});
    for (let from = cursor; ;) {
      const page = await watch.look(() => fetch(from));
      if (page !== undefined) {
        if (page.next === null || page.items.length > 0) {
          return page;
        }
        from = page.next;
      }
      await watch.rest();
    }
  };
}
