import { defineConfig } from "vite";

// One file that browsers run as it is, beside the door that serves it.
export default defineConfig({
  build: {
    target: "es2020",
    outDir: "..",
    emptyOutDir: false,
    lib: { entry: "src/main.ts", formats: ["iife"], name: "headwaterTracker", fileName: () => "tracker.js" },
  },
});
