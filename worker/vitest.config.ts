import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";
import { contract } from "./test/node/contract.ts";
import { token, webhookSecret } from "./test/node/daemon.ts";

export default defineConfig({
  test: {
    // One daemon, one proxy: a fault in one file would affect another.
    fileParallelism: false,
    projects: [
      {
        // Inside workerd, with the real daemon behind a proxy that breaks things.
        plugins: [
          contract(),
          cloudflareTest(({ inject }) => ({
            wrangler: { configPath: "./wrangler.jsonc" },
            miniflare: {
              cf: false,
              bindings: {
                OPTIMIZER_TOKEN: token,
                UPLOAD_TOKEN: "the owner's token",
                SESSION_SECRET: "a secret",
                WEBHOOK_SECRET: webhookSecret,
                PUBLIC_URL: "https://gallery.example.com",
              },
              // Like a Workers VPC binding in production.
              serviceBindings: { OPTIMIZER: { external: { address: new URL(inject("proxyUrl")).host, http: {} } } },
            },
          })),
        ],
        test: {
          name: "edge",
          include: ["test/edge/*.test.ts"],
          globalSetup: ["test/node/setup.ts"],
          testTimeout: 180_000,
          hookTimeout: 180_000,
        },
      },
      {
        // A Worker with an address, so that the daemon's webhook reaches it.
        test: { name: "live", include: ["test/node/*.test.ts"], testTimeout: 180_000, hookTimeout: 180_000 },
      },
    ],
  },
});
