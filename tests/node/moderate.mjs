// The official OpenAI SDK for Node against a Penstock server: prints what it saw as one JSON object.
// usage: node moderate.mjs <base URL> <API key>
import OpenAI from "openai";

const [, , baseURL, apiKey] = process.argv;
const openai = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const stranger = new OpenAI({ baseURL, apiKey: "psk_wrong", maxRetries: 0 });

async function errorOf(promise) {
  try {
    await promise;
    return null;
  } catch (error) {
    const { name } = error.constructor;
    return { name, status: error.status, param: error.param ?? null, code: error.code ?? null };
  }
}

const kind = "Thank you all for the lovely evening.";
const threat = "I will kill you tomorrow morning.";

const one = await openai.moderations.create({ input: kind });
const list = await openai.moderations.create({
  model: "omni-moderation-latest",
  input: [kind, threat],
});
const parts = await openai.moderations.create({
  input: [
    { type: "text", text: kind },
    { type: "image_url", image_url: { url: "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mM4IScHAAK2AQUKW6YGAAAAAElFTkSuQmCC" } },
  ],
});
const models = [];
for await (const model of openai.models.list()) models.push(model.id);

console.log(
  JSON.stringify({
    one: one.results.map((result) => result.flagged),
    again: (await openai.moderations.create({ input: kind })).results[0].penstock.receipt.source,
    list: list.results.map((result) => result.flagged),
    violence: list.results[1].category_scores.violence,
    parts: parts.results.map((result) => result.penstock.decision),
    models,
    unauthorized: await errorOf(stranger.moderations.create({ input: kind })),
    empty: await errorOf(openai.moderations.create({ input: "" })),
    missing: await errorOf(openai.models.retrieve("gpt-9")),
  }),
);
