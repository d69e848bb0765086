/** Lists that the server gives page by page, read as one. */

import type { CallOptions } from "./transport.js";

/**
 * One page; `next` leads to the page after it, null on the last one. In a list that grows, as that
 * of a running batch's results, it leads on to what comes later.
 */
export interface Page<T> {
  items: T[];
  next: string | null;
  requestId: string | null;
}

/**
 * A list that is fetched while it is read: `for await (const item of list)`, or whole pages by
 * `for await (const page of list.pages())`. Nothing is asked for until then.
 */
export class Paged<T> implements AsyncIterable<T> {
  readonly #fetch: (cursor: string | undefined) => Promise<Page<T>>;

  constructor(fetch: (cursor: string | undefined) => Promise<Page<T>>) {
    this.#fetch = fetch;
  }

  /** The pages from `cursor` on; the first one when it is not given. */
  async *pages(cursor?: string): AsyncGenerator<Page<T>, void, undefined> {
    for (let from = cursor; ;) {
      const page = await this.#fetch(from);
      yield page;
      if (page.next === null || page.items.length === 0) {
        return; // an empty page with a next one: of a list that grows, there is no more just now
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
