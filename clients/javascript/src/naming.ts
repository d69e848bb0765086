/**
 * snake_case of the API to camelCase of JavaScript, for fields of documents whose shape is known.
 *
 * A blind deep conversion would also rename keys that users or the server use as data: metadata,
 * categories, names of stages. So a shape names the fields whose values are documents again;
 * every other value stays as it came.
 */

/** Fields whose values are documents, or lists of documents; `*`: the names of fields are data. */
export interface Shape {
  readonly [field: string]: Shape;
}

export type Document = Record<string, unknown>;

/** The document with its own field names in camelCase, and so on as far as the shape goes. */
export function camel(document: unknown, shape: Shape = {}): unknown {
  if (Array.isArray(document)) {
    return document.map((item) => camel(item, shape));
  }
  if (!isDocument(document)) {
    return document;
  }
  const named: Document = {};
  for (const [name, value] of Object.entries(document)) {
    const inner = shape["*"] ?? (Object.hasOwn(shape, name) ? shape[name] : undefined);
    named[shape["*"] ? name : camelName(name)] = inner ? camel(value, inner) : value;
  }
  return named;
}

/** The request with its own field names in snake_case; undefined ones are left out. */
export function snake(options: object): Document {
  const named: Document = {};
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined) {
      named[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = value;
    }
  }
  return named;
}

export function isDocument(value: unknown): value is Document {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function camelName(name: string): string {
  return name.replace(/(?!^)_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
