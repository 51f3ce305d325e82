// The whole of it for the browser: the real daemon, the Worker in workerd with
// an address of its own, and a page that is watched.

import { existsSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Browser, type BrowserContextOptions, type Page, chromium } from "playwright-core";
import { unstable_startWorker as startWorker } from "wrangler";
import type { Image, Upload } from "../../src/api";
import { Daemon, photoFolder, token, webhookSecret } from "../node/daemon";
import { Proxy } from "../node/proxy";

export const ownerToken = "the owner's token";

const worker = resolve(import.meta.dirname, "../..");
const photos = photoFolder();
const pictures = resolve(process.env["SCREENSHOTS"] ?? join(import.meta.dirname, "screenshots"));

/** A photo of bimg's test data. */
export const photo = (name: string) => join(photos, name);

export class Site {
  private constructor(
    readonly url: string,
    readonly daemon: Daemon,
    readonly dispose: () => Promise<void>,
  ) {}

  /** Signs the owner in, without the dialog. */
  async admit(page: Page): Promise<void> {
    await page.context().request.post(`${this.url}/api/session`, { data: { token: ownerToken } });
  }

  /** bindings are those of this test, in addition. */
  static async start(bindings: Record<string, { type: "json"; value: boolean }> = {}): Promise<Site> {
    if (!existsSync(join(worker, "site/app.js"))) throw new Error("site/app.js is missing; run npm run build");
    const daemon = await Daemon.start();
    // The daemon has another port when it is started again; this has not.
    const proxy = new Proxy(daemon, photos);
    await proxy.start();
    const text = (value: string) => ({ type: "plain_text" as const, value });
    const started = await startWorker({
      config: join(worker, "wrangler.jsonc"),
      // It is built: once more would rewrite what the page of another test is loading.
      build: { custom: { command: "" } },
      bindings: {
        OPTIMIZER_URL: text(proxy.url),
        OPTIMIZER_TOKEN: text(token),
        UPLOAD_TOKEN: text(ownerToken),
        SESSION_SECRET: text("a secret"),
        WEBHOOK_SECRET: text(webhookSecret),
        // All tests sign in from one address.
        SIGN_INS: { type: "ratelimit", namespace_id: "1", simple: { limit: 1000, period: 60 } },
        ...bindings,
      },
      dev: {
        server: { hostname: "127.0.0.1", port: 0 },
        inspector: false,
        persist: false,
        watch: false,
        logLevel: "error",
      },
    });
    return new Site((await started.url).origin, daemon, async () => {
      await started.dispose();
      await proxy.dispose();
      await daemon.dispose();
    });
  }

  /** Puts a photo into the gallery without the page. */
  async seed(name: string, filename = name): Promise<Image> {
    const headers = { Authorization: `Bearer ${ownerToken}` };
    const body = await readFile(photo(name));
    const query = new URLSearchParams({ filename });
    const posted = await fetch(`${this.url}/api/images?${query}`, { method: "POST", headers, body });
    const { upload } = (await posted.json()) as { upload: string };
    for (;;) {
      const asked = await fetch(`${this.url}/api/uploads/${upload}`, { headers });
      const { status, image, error } = (await asked.json()) as Upload;
      if (status === "done" && image) return image;
      if (status === "failed") throw new Error(`${name}: ${error?.message}`);
      await pause(100);
    }
  }
}

export async function openBrowser(): Promise<Browser> {
  const executablePath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";
  if (!existsSync(executablePath)) {
    throw new Error(
      `${executablePath} is missing. As root, run "apt-get install --no-install-recommends chromium", ` +
        "or set CHROMIUM to where a Chromium is.",
    );
  }
  // Its own sandbox needs what containers and root do not have; it opens one
  // site, ours. The rest keeps it from calling home.
  const args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
  args.push("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync");
  return chromium.launch({ executablePath, args });
}

declare global {
  function complain(text: string): Promise<void>;
}

/** A page whose every complaint is kept. */
export interface Watched {
  page: Page;
  complaints: string[];
}

/**
 * Opens a page of its own, with no cookies. Chromium reports each answer of 4xx
 * and 5xx to the console: what a test provokes on purpose it names.
 */
export async function openPage(browser: Browser, options: BrowserContextOptions, provoked?: RegExp): Promise<Watched> {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(150_000); // only guards against hanging: the machine may be busy
  const page = await context.newPage();
  const complaints: string[] = [];
  const complain = (text: string) => {
    if (!provoked?.test(text)) complaints.push(text);
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complain(`${message.text()} ${message.location().url}`);
  });
  page.on("pageerror", (error) => complain(String(error)));
  await page.exposeFunction("complain", complain);
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) => {
      void complain(`CSP: ${violatedDirective} ${blockedURI}`);
    });
  });
  return { page, complaints };
}

export async function signIn(page: Page): Promise<void> {
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByLabel("Token").fill(ownerToken);
  await page.keyboard.press("Enter");
  await page.locator("#menu-open").waitFor();
}

/** Chooses an item of the owner's menu. */
export async function choose(page: Page, item: string): Promise<void> {
  await page.getByRole("button", { name: "Menu" }).click();
  await page.locator("#menu").getByRole("button", { name: item }).click();
}

/**
 * Until all that is in the window is loaded, or has failed, and is faded in. Rejects
 * with what is not so after two minutes. (waitForFunction would be simpler, but has
 * the page eval, which its policy forbids.)
 */
export async function settle(page: Page): Promise<void> {
  await page.evaluate(() => {
    const unsettled = () => {
      if (document.getElementById("grid")?.ariaBusy !== "false") return "the list is loading";
      const frame = [...document.querySelectorAll(".frame")]
        .filter((frame) => frame.getBoundingClientRect().top < innerHeight && frame.checkVisibility())
        .find((frame) => !frame.matches(".loaded, .broken"));
      if (frame) return `an image is loading: ${frame.querySelector("img")?.currentSrc}`;
      const animation = document.getAnimations().find(({ effect }) => effect?.getTiming().iterations !== Infinity);
      return animation && `an animation is ${animation.playState}`;
    };
    const end = performance.now() + 120_000;
    return new Promise<void>((resolve, reject) => {
      const look = () => {
        const what = unsettled();
        if (!what) resolve();
        else if (performance.now() > end) reject(new Error(`not settled: ${what}`));
        else requestAnimationFrame(look);
      };
      look();
    });
  });
}

export async function screenshot(page: Page, name: string): Promise<void> {
  await mkdir(pictures, { recursive: true });
  await page.screenshot({ path: join(pictures, `${name}.png`) });
}
