// usage: node run.mjs esm|commonjs <base URL> <API key>
import { createRequire } from "node:module";
import { tour } from "./tour.mjs";

const [kind, baseUrl, apiKey] = process.argv.slice(2);
const dist = "../../../clients/javascript/dist";
const client =
  kind === "esm"
    ? await import(`${dist}/index.mjs`)
    : createRequire(import.meta.url)(`${dist}/index.cjs`);

console.log(JSON.stringify(await tour(client, baseUrl, apiKey)));
