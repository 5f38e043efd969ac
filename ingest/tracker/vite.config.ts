import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { defineConfig } from "vite";

/** What the script is made of: it says so of itself, and a test compares it with what lies here. */
function hashOfSource(): string {
  const hash = createHash("sha256");
  for (const name of readdirSync("src").sort()) hash.update(readFileSync(`src/${name}`));
  return hash.digest("hex").slice(0, 12);
}

// One file that browsers run as it is, beside the door that serves it.
export default defineConfig({
  define: { VERSION: JSON.stringify(hashOfSource()) },
  build: {
    target: "es2020",
    outDir: "..",
    emptyOutDir: false,
    lib: { entry: "src/main.ts", formats: ["iife"], name: "headwaterTracker", fileName: () => "tracker.js" },
  },
});
