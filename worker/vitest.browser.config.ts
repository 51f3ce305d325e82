import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineConfig } from "vitest/config";

// Separate from the other suites: it needs Chromium, which not every machine
// has.
export default defineConfig({
  test: {
    include: ["test/browser/*.test.ts"],
    testTimeout: 600_000,
    hookTimeout: 600_000,
    expect: { poll: { timeout: 120_000 } },
    env: {
      // For the daemon: AVIF in the largest widths would take most of the time.
      OPTIMIZERD_LADDER_WIDTHS: "320,480,640,960,1280",
      OPTIMIZERD_CODEC_TIMEOUT: "3m",
      // For the Worker: no internet access.
      CI: "1",
      CLOUDFLARE_CF_FETCH_ENABLED: "false",
      WRANGLER_HIDE_BANNER: "true",
      WRANGLER_LOG: "warn",
      WRANGLER_LOG_PATH: join(tmpdir(), "optimizerd-wrangler-logs"),
      WRANGLER_SEND_ERROR_REPORTS: "false",
      WRANGLER_SEND_METRICS: "false",
    },
  },
});
