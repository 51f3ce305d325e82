// `make gallery`: the whole chain on this machine, by one command without an account.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ImageList } from "../../src/api";
import { photoFolder } from "./daemon";

const script = resolve(import.meta.dirname, "../../scripts/gallery.mjs");
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "optimizerd-script-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** The programs that have a text in their command line. */
async function running(text: string): Promise<string[]> {
  const found = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => ""); // it has ended
    if (line.includes(text)) found.push(line.replaceAll("\0", " "));
  }
  return found;
}

test("it shows the photos at an address, to sign in with a token, and Ctrl-C leaves nothing behind", async () => {
  const photos = join(folder, "photos");
  const temporary = join(folder, "tmp");
  for (const path of [photos, temporary]) await mkdir(path);
  await copyFile(join(photoFolder(), "test_square.jpg"), join(photos, "A nebula.jpg"));
  await copyFile(join(photoFolder(), "test.webp"), join(photos, "A leaf.webp"));
  await mkdir(join(photos, "More photos"));
  await writeFile(join(photos, "Notes.txt"), "no image");
  const gallery = spawn(process.execPath, [script], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      PHOTOS: photos,
      PORT: "0",
      TMPDIR: temporary,
      CI: "1",
      WRANGLER_LOG_PATH: join(folder, "logs"),
    },
  });
  const exit = once(gallery, "exit");
  try {
    const printed: Record<string, string> = {};
    for await (const line of createInterface({ input: gallery.stdout })) {
      const [, what = "", value = ""] =
        /^(The gallery|To add photos, sign in with|Adding photo . of .| {2}refused): (.+)/.exec(line) ?? [];
      printed[what] = value;
      if (line === "Ctrl-C ends it.") break;
    }
    expect(printed).toMatchObject({ "Adding photo 1 of 3": "A leaf.webp", "Adding photo 3 of 3": "Notes.txt" });
    expect(printed["  refused"]).toBeTruthy();
    const site = printed["The gallery"] ?? "";
    const { images } = (await (await fetch(`${site}/api/images`)).json()) as ImageList;
    expect(images.map(({ alt }) => alt).sort()).toEqual(["A leaf", "A nebula"]);
    expect((await fetch(`${site}/images/${images[0]?.id}?w=320`)).status).toBe(200);
    const session = {
      method: "POST",
      headers: { Origin: site },
      body: JSON.stringify({ token: printed["To add photos, sign in with"] }),
    };
    expect((await fetch(`${site}/api/session`, session)).status).toBe(204);
    expect(await running(temporary)).not.toEqual([]);
  } finally {
    gallery.kill("SIGINT");
  }
  expect(await exit).toEqual([0, null]);
  await expect.poll(() => running(temporary), { timeout: 60_000 }).toEqual([]);
  expect((await readdir(temporary)).filter((name) => name.startsWith("optimizerd-"))).toEqual([]);
});

test("it names a port that another program has, and does not start", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const env = { ...process.env, PORT: String(port), TMPDIR: folder };
  const gallery = spawn(process.execPath, [script], { stdio: ["ignore", "ignore", "pipe"], env });
  const [[code], printed] = await Promise.all([once(gallery, "exit"), text(gallery.stderr)]);
  other.close();
  expect(printed).toContain(`port ${port} is used by another program`);
  expect(code).toBe(1);
  expect(await readdir(folder)).toEqual([]);
});
