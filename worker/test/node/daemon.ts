// The real daemon, as a child process.

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

export const token = "a-token-of-the-tests-alone";
export const webhookSecret = `whsec_${Buffer.from("a secret of the tests alone").toString("base64")}`;

const root = resolve(import.meta.dirname, "../../..");

export class Daemon {
  url = "";
  #process: ChildProcess | null = null;

  /** Settings besides those of every test. */
  settings: Record<string, string> = {};

  /** folder holds all that it keeps. */
  private constructor(readonly folder: string) {}

  /** Makes one that does not run yet. */
  static async prepare(): Promise<Daemon> {
    return new Daemon(await mkdtemp(join(tmpdir(), "optimizerd-worker-")));
  }

  static async start(): Promise<Daemon> {
    const daemon = await Daemon.prepare();
    await daemon.start();
    return daemon;
  }

  /** Starts it if it is not running, on a new port, with the data that it had. */
  async start(): Promise<void> {
    if (this.#process !== null) return;
    const binary = process.env.DAEMON_BIN ?? join(root, "bin/optimizerd");
    if (!existsSync(binary)) throw new Error(`${binary} is missing; run make build`);
    const settings = {
      "http.listen": "127.0.0.1:0",
      "admin.listen": "",
      "storage.dir": this.folder,
      "storage.keep_originals": "true",
      "fetch.allow_private": "true",
      "ladder.formats": "webp,jpeg,avif",
      // Every rung of the test photo is smaller in AVIF, so that it has all 21 files.
      "ladder.quality.avif": "40",
      "log.level": "error",
      ...this.settings,
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ["--set", `${name}=${value}`]);
    const child = spawn(binary, ["serve", ...args], {
      stdio: ["ignore", "pipe", "inherit"],
      env: {
        ...process.env,
        OPTIMIZERD_CONFIG: "", // no configuration of this machine
        OPTIMIZERD_AUTH_TOKENS: token,
        OPTIMIZERD_WEBHOOK_SECRETS: webhookSecret,
      },
    });
    this.#process = child;
    for await (const line of createInterface({ input: child.stdout })) {
      if (!line.startsWith("listening ")) continue;
      this.url = line.slice("listening ".length);
      return;
    }
    throw new Error("the daemon ended before it listened");
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    const child = this.#process;
    this.#process = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill(signal);
    await exit;
  }

  /** Ends it and removes its data. */
  async dispose(): Promise<void> {
    await this.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Where the photos are: bimg's own test data. */
export function photoFolder(): string {
  const folder = execFileSync("go", ["list", "-m", "-f", "{{.Dir}}", "github.com/h2non/bimg"], {
    cwd: root,
    encoding: "utf8",
  });
  return join(folder.trim(), "testdata");
}
