/** FIST's client under its old name: `new FistClient({ token, baseUrl })`. */

import { Penstock } from "./client.js";
import type { ClientOptions } from "./config.js";

export interface FistOptions extends Omit<ClientOptions, "apiKey"> {
  /** The token that `penstock token create --prefix fist_` printed. */
  token?: string;
}

/** Penstock's client, made as FIST's was. */
export class FistClient extends Penstock {
  constructor({ token, ...options }: FistOptions = {}) {
    super(token === undefined ? options : { ...options, apiKey: token });
  }
}
