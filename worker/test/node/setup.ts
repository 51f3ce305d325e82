// Before all tests: the daemon, and the proxy in front of it.

import type { TestProject } from "vitest/node";
import { Daemon, photoFolder } from "./daemon";
import { Proxy } from "./proxy";

declare module "vitest" {
  interface ProvidedContext {
    proxyUrl: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const daemon = await Daemon.start();
  const proxy = new Proxy(daemon, photoFolder());
  await proxy.start();
  project.provide("proxyUrl", proxy.url);
  return async () => {
    await proxy.dispose();
    await daemon.dispose();
  };
}
