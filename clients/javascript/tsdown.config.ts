import { defineConfig } from "tsdown";

// One file for each module system: a browser loads the ESM one without a bundler.
export default defineConfig({
  entry: ["src/index.ts"],
  format: ["esm", "cjs"],
  platform: "neutral",
  target: "es2022",
  dts: true,
  fixedExtension: true,
});
