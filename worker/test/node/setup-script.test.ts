// `npm run setup`, with an account that is a file.

import { spawnSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parse } from "yaml";
import { afterEach, beforeEach, expect, test } from "vitest";

const worker = resolve(import.meta.dirname, "../..");
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "optimizerd-setup-"));
  await cp(join(worker, "wrangler.jsonc"), join(folder, "wrangler.jsonc"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function setup(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [join(worker, "scripts/setup.mjs"), ...args], {
    cwd: folder,
    encoding: "utf8",
    env: {
      ...process.env,
      WRANGLER: join(worker, "test/fixtures/wrangler.mjs"),
      FAKE_ACCOUNT: join(folder, "account.json"),
    },
  });
}

interface Account {
  log: string[];
  rules: string[];
  secrets: Record<string, string>;
}

const account = async () => JSON.parse(await readFile(join(folder, "account.json"), "utf8")) as Account;
const config = () => readFile(join(folder, "wrangler.jsonc"), "utf8");
const changes = ({ log }: Account) => log.filter((line) => /create|lifecycle add/.test(line));

test("an empty account becomes a gallery, by one command that can be repeated", async () => {
  const first = setup("--optimizer", "https://img.example.com");
  expect([first.status, first.stderr]).toEqual([0, ""]);
  const made = await account();
  expect(changes(made)).toHaveLength(6);
  expect(made.rules).toEqual(["state/uploads/", "state/sessions/"]);
  expect(Object.keys(made.secrets)).toEqual([
    "OPTIMIZER_TOKEN",
    "WEBHOOK_SECRET",
    "UPLOAD_TOKEN",
    "SESSION_SECRET",
    "HOOK_SECRET",
  ]);
  // The daemon gets what the Worker has.
  expect(first.stdout).toContain(
    `echo '${made.secrets["OPTIMIZER_TOKEN"]}' | sudo tee -a /etc/credstore/optimizerd.tokens `,
  );
  expect(first.stdout).toContain(
    `echo '${made.secrets["WEBHOOK_SECRET"]}' | sudo tee -a /etc/credstore/optimizerd.webhook-secrets `,
  );
  const text = await config();
  expect(text).not.toMatch(/"(database_)?id": "0000/);
  expect(text.match(/"id": "1{32}"/g)).toHaveLength(2);
  expect(text).toContain('"OPTIMIZER_URL": "https://img.example.com"');
  expect(text.match(/"PUBLIC_URL": "https:\/\/optimizerd-gallery.someone.workers.dev"/g)).toHaveLength(2);

  const second = setup("--optimizer", "https://img.example.com");
  expect(second.status).toBe(0);
  expect(changes(await account())).toEqual(changes(made));
  expect((await account()).secrets).toEqual(made.secrets);
  expect(await config()).toBe(text);
});

test("by VPC, at a domain", async () => {
  const service = "99999999-8888-7777-6666-555555555555";
  const { status } = setup("--vpc", service, "--url", "https://photos.example.com");
  expect(status).toBe(0);
  expect(await config()).toContain(`"service_id": "${service}"`);
  expect(await config()).toContain('"PUBLIC_URL": "https://photos.example.com"');
  expect((await account()).log).toContain("deploy --env vpc");
});

test("with --direct it prints where the daemon writes, and how it gets a key", async () => {
  const { status, stdout } = setup("--direct", "--optimizer", "https://img.example.com");
  expect(status).toBe(0);
  expect((await config()).match(/"DIRECT": true/g)).toHaveLength(2);
  const [yaml = ""] = /^storage:\n(?: .*\n)+/m.exec(stdout) ?? [];
  expect(parse(yaml)).toEqual({
    storage: {
      upload_memory: "64MiB",
      s3: {
        endpoint: `https://${"a".repeat(32)}.r2.cloudflarestorage.com`,
        bucket: "optimizerd-images",
      },
    },
  });
  expect(stdout).toContain('"Object Read & Write" for the bucket optimizerd-images');
  expect(stdout).toContain("/etc/credstore/optimizerd.s3-key");
  // Repeated without it, the mode stays.
  setup("--optimizer", "https://img.example.com");
  expect(await config()).toContain('"DIRECT": true');
});

test("a dry run needs no account, and changes nothing", async () => {
  const before = await config();
  const { status, stdout } = setup("--dry-run", "--optimizer", "https://img.example.com");
  expect(status).toBe(0);
  expect(stdout.match(/^would run: wrangler /gm)).toHaveLength(8);
  expect(stdout).not.toMatch(/whsec_/);
  await expect(account()).rejects.toThrow("ENOENT");
  await expect(readFile(join(folder, ".secrets.json"))).rejects.toThrow("ENOENT");
  expect(await config()).toBe(before);
});

test.each([[[]], [["--optimizer", "img.example.com"]], [["--optimizer", "https://a.example/path"]]])(
  "%j is refused with a sentence",
  (args) => {
    const { status, stderr } = setup(...args);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^setup: .+\.\n$/);
  },
);
