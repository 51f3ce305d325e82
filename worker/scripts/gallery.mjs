// The whole chain on this machine, without an account: the daemon, the Worker in its
// own runtime with R2, KV, D1 and the queue, and five photos. Needs bin/ (make build).
// Usage: make gallery   (PORT=8787; PHOTOS=DIR shows the files of a directory; Ctrl-C
// ends it, and leaves nothing behind)
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { mkdtemp, readFile, readdir } from "node:fs/promises";
import { createServer } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { unstable_startWorker as startWorker } from "wrangler";

const defaults = [
  ["northern_cardinal_bird.jpg", "A northern cardinal.jpg"],
  ["test_exif.jpg", "Over the fjord.jpg"],
  ["vertical.jpg", "The milky way.jpg"],
  ["test_square.jpg", "A nebula.jpg"],
  ["test.webp", "An autumn leaf.webp"],
];

const root = resolve(import.meta.dirname, "../..");
// Where wrangler runs the build command.
process.chdir(join(root, "worker"));
const binary = join(root, "bin/optimizerd");
if (!existsSync(binary)) {
  console.error(`gallery: ${binary} is missing; run: make build`);
  process.exit(1);
}
const port = Number(process.env.PORT ?? 8787);
// On a port that another program has, the Worker's runtime would wait without a word.
const probe = createServer().listen(port, "127.0.0.1");
try {
  await once(probe, "listening");
} catch (error) {
  const why = error.code === "EADDRINUSE" ? `port ${port} is used by another program` : error.message;
  console.error(`gallery: ${why}; name another one: make gallery PORT=8788`);
  process.exit(1);
}
probe.close();

const secret = () => randomBytes(32).toString("hex");
const token = secret();
const uploadToken = process.env.UPLOAD_TOKEN ?? secret();
const webhookSecret = `whsec_${randomBytes(32).toString("base64")}`;
const folder = await mkdtemp(join(tmpdir(), "optimizerd-gallery-"));

const settings = {
  "http.listen": "127.0.0.1:0",
  "admin.listen": "",
  "storage.dir": folder,
  "storage.keep_originals": "true",
  // The Worker's webhook is on this machine.
  "fetch.allow_private": "true",
  "log.level": "warn",
};
const daemon = spawn(
  binary,
  ["serve", ...Object.entries(settings).flatMap(([name, value]) => ["--set", `${name}=${value}`])],
  {
    stdio: ["ignore", "pipe", "inherit"],
    // Ctrl-C is for this script, which ends the daemon in order.
    detached: true,
    env: {
      ...process.env,
      OPTIMIZERD_CONFIG: "",
      OPTIMIZERD_AUTH_TOKENS: token,
      OPTIMIZERD_WEBHOOK_SECRETS: webhookSecret,
    },
  },
);

// However this ends: wrangler ends the process by itself on Ctrl-C.
process.on("exit", () => {
  daemon.kill("SIGTERM");
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
});
daemon.on("exit", () => process.exit(1));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));

async function listening() {
  for await (const line of createInterface({ input: daemon.stdout })) {
    if (line.startsWith("listening ")) return line.slice("listening ".length);
  }
  throw new Error("the daemon ended before it listened");
}

/** Adds a photo; returns why it was refused, or nothing. */
async function add(site, photo, filename) {
  const headers = { Authorization: `Bearer ${uploadToken}` };
  const query = new URLSearchParams({ filename });
  const posted = await fetch(`${site}/api/images?${query}`, { method: "POST", headers, body: await readFile(photo) });
  const answer = await posted.json();
  if (!posted.ok) return answer.detail ?? answer.title;
  for (;;) {
    const { status, error } = await (await fetch(`${site}/api/uploads/${answer.upload}`, { headers })).json();
    if (status === "done") return;
    if (status === "failed") return error.message;
    await pause(200);
  }
}

/** Paths and names of the photos: those of PHOTOS, or some of bimg's test data. */
async function photos() {
  const own = process.env.PHOTOS;
  if (own) {
    const files = (await readdir(own, { withFileTypes: true })).filter((entry) => entry.isFile());
    return files.map(({ name }) => [join(own, name), name]).sort();
  }
  const args = ["list", "-m", "-f", "{{.Dir}}", "github.com/h2non/bimg"];
  const folder = join(execFileSync("go", args, { cwd: root, encoding: "utf8" }).trim(), "testdata");
  return defaults.map(([name, filename]) => [join(folder, name), filename]);
}

try {
  console.log("Starting the daemon and the Worker");
  const text = (value) => ({ type: "plain_text", value });
  const worker = await startWorker({
    config: join(root, "worker/wrangler.jsonc"),
    bindings: {
      OPTIMIZER_URL: text(await listening()),
      OPTIMIZER_TOKEN: text(token),
      UPLOAD_TOKEN: text(uploadToken),
      SESSION_SECRET: text(secret()),
      WEBHOOK_SECRET: text(webhookSecret),
    },
    dev: {
      server: { hostname: "127.0.0.1", port },
      inspector: false,
      persist: false,
      watch: false,
      logLevel: "error",
    },
  });
  const site = (await worker.url).origin;
  const all = await photos();
  for (const [index, [photo, filename]] of all.entries()) {
    console.log(`Adding photo ${index + 1} of ${all.length}: ${filename}`);
    const refused = await add(site, photo, filename);
    if (refused) console.log(`  refused: ${refused}`);
  }
  const lines = [`The gallery: ${site}`, `To add photos, sign in with: ${uploadToken}`];
  if (process.env.SSH_CONNECTION) {
    const { host, port } = new URL(site);
    lines.push(`From another computer, first run there: ssh -L ${port}:${host} ${hostname()}`);
  }
  console.log(`\n${lines.join("\n")}\nCtrl-C ends it.`);
} catch (error) {
  console.error(`gallery: ${error.message}`);
  process.exit(1);
}
