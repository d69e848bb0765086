import assert from "node:assert/strict";
import { inspect } from "node:util";
import { test } from "node:test";
import * as client from "penstock-client";
import { json, problem, refused, response, script } from "./rig.mjs";

const stub = (...answers) =>
  new client.Penstock({ ...script(...answers), apiKey: "psk_secret", maxRetries: 0 });

async function errorOf(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new assert.AssertionError({ message: "nothing was thrown" });
}

test("an error says what the server said", async () => {
  const fields = {
    request_id: "req_9",
    errors: [{ pointer: "/content", detail: "is empty" }],
  };

  const error = await errorOf(stub(problem(422, "invalid-input", fields)).moderateContent(""));

  assert.equal(error.message, "422: it is invalid-input (request req_9)");
  assert.deepEqual([error.code, error.requestId, error.status], ["invalid_input", "req_9", 422]);
  assert.deepEqual(error.errors, fields.errors);
  assert.equal(error.problem.title, "invalid-input");
});

test("a proxy's page in place of a problem is no obstacle", async () => {
  const page = response("<html>502 Bad Gateway</html>", 502);

  const error = await errorOf(stub(page).getHealth());

  assert.ok(error instanceof client.ServerError);
  assert.deepEqual([error.code, error.errors, error.requestId], [null, [], null]);
});

test("an answer that is not JSON is an InvalidAnswerError that names the address", async () => {
  const error = await errorOf(stub(response("<html>")).getHealth());

  assert.ok(error instanceof client.InvalidAnswerError);
  assert.match(error.message, /127\.0\.0\.1:8000.*Penstock server/);
});

test("an answer without its results is an InvalidAnswerError", async () => {
  for (const answer of [{}, { results: [1] }, { result: {} }]) {
    const error = await errorOf(stub(json(answer)).moderateBatch(["a"]));

    assert.ok(error instanceof client.InvalidAnswerError);
  }
});

test("a body that is no JSON is the caller's TypeError, and nothing is sent", async () => {
  const { fetch, calls } = script(json({}));
  const call = new client.Penstock({ fetch }).createBatch({ requests: [{ body: { n: 1n } }] });

  await assert.rejects(call, (error) => error.constructor === TypeError);
  assert.equal(calls.length, 0);
});

test("a refused connection says where and why", async () => {
  const error = await errorOf(stub(refused).getHealth());

  assert.ok(error instanceof client.ConnectionError);
  assert.equal(error.message, "no connection to http://127.0.0.1:8000: ECONNREFUSED");
});

test("the key is shown nowhere", async () => {
  const penstock = stub(problem(401, "unauthorized"));

  const error = await errorOf(penstock.getHealth());

  assert.ok(!inspect(penstock, { depth: 9, showHidden: true }).includes("psk_secret"));
  assert.ok(!inspect(error, { depth: 9, showHidden: true }).includes("psk_secret"));
  assert.ok(!JSON.stringify(penstock).includes("psk_secret"));
});

test("every error has its class as name", () => {
  const kinds = Object.entries(client).filter(([, kind]) => kind.prototype instanceof Error);

  assert.ok(kinds.length > 15);
  for (const [name, kind] of kinds) {
    const shown = name === "AbortedError" ? "AbortError" : name;
    assert.equal(kind.prototype.name, shown);
  }
});

for (const options of [
  { baseUrl: "localhost:8000" },
  { baseUrl: "ftp://x" },
  { baseUrl: "http://user:secret@x" },
  { baseUrl: "http://x/?a=1" },
  { apiKey: "psk_1\r\nx: y" },
  { apiKey: "psk_ü" },
  { timeout: 0 },
  { timeout: Number.NaN },
  { maxRetries: -1 },
  { maxRetries: 1.5 },
]) {
  test(`a client is not made with ${JSON.stringify(options)}`, () => {
    assert.throws(
      () => new client.Penstock(options),
      (error) => !error.message.includes("secret") && !error.message.includes("psk_"),
    );
  });
}

for (const id of ["", ".", "..", undefined]) {
  test(`${JSON.stringify(id)} is no id`, async () => {
    await assert.rejects(stub(json({})).getJob(id), TypeError);
  });
}

test("a redirect is an error: the key is for one server", async () => {
  const { fetch, calls } = script(response("", 307, { location: "http://elsewhere.example/" }));

  await assert.rejects(
    new client.Penstock({ fetch, apiKey: "psk_1" }).moderateContent("a"),
    (error) => error instanceof client.APIError && error.status === 307,
  );
  assert.deepEqual([calls.length, calls[0].redirect], [1, "manual"]);
});

test("a page, which sees nothing of a redirect, is told of it", async () => {
  const { fetch } = script({ ...response("", 0), type: "opaqueredirect" });

  await assert.rejects(
    new client.Penstock({ fetch }).moderateContent("a"),
    client.InvalidAnswerError,
  );
});
