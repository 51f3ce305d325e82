import type worker from "../src/index";
import type { Env } from "../src/env";

declare global {
  namespace Cloudflare {
    interface Env extends ProjectEnv {}
    interface GlobalProps {
      mainModule: { default: typeof worker };
    }
  }
  interface ProjectEnv extends Env {}
}

declare module "vitest" {
  interface ProvidedContext {
    proxyUrl: string;
  }
}
