// Stands between the Worker and the daemon as the tunnel does, and breaks what
// passes as a test orders. It also serves the photos, and is controlled by HTTP, since
// the tests run inside workerd.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { type IncomingMessage, type ServerResponse, createServer, request as send } from "node:http";
import type { AddressInfo } from "node:net";
import { basename, join } from "node:path";
import { once } from "node:events";
import type { Daemon } from "./daemon";

/** What to do with the next requests whose "METHOD /path" begins like this. */
export interface Fault {
  match: string;
  /** Requests that pass unharmed before, and those that do not; without times, all. */
  after?: number;
  times?: number;
  /**
   * cut: half of the answer, then the end of the connection. flip: one byte is
   * another. down: no answer. kill: no answer, and the daemon is dead. chunked:
   * the length is not sent. login: as Access answers strangers.
   */
  action: "cut" | "flip" | "down" | "kill" | "chunked" | "login";
}

export class Proxy {
  url = "";
  #faults: Fault[] = [];
  #seen: string[] = [];
  #server = createServer((request, response) => {
    this.#handle(request, response).catch(() => response.destroy());
  });

  constructor(
    private readonly daemon: Daemon,
    private readonly photos: string,
  ) {}

  async start(): Promise<void> {
    this.#server.keepAliveTimeout = 0; // no connection ends but by a fault
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What has passed since it was asked last. */
  takeSeen(): string[] {
    return this.#seen.splice(0);
  }

  async dispose(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url = "/", method = "GET" } = request;
    if (url.startsWith("/test/")) return this.#control(request, response);
    const line = `${method} ${url}`;
    this.#seen.push(line);
    const fault = this.#faultFor(line);
    if (fault === "login") {
      request.resume();
      response.writeHead(302, { Location: "https://login.example.com/" }).end();
      return;
    }
    if (fault === "kill") await this.daemon.stop("SIGKILL");
    if (fault === "kill" || fault === "down" || this.daemon.url === "") {
      request.socket.destroy();
      return;
    }
    const onward = send(this.daemon.url + url, { method, headers: request.headers }, (answer) => {
      this.#pass(answer, response, fault).catch(() => response.destroy()); // the daemon was killed meanwhile
    });
    onward.on("error", () => request.socket.destroy());
    request.pipe(onward);
  }

  #faultFor(line: string): Fault["action"] | null {
    for (const fault of this.#faults) {
      if (!line.startsWith(fault.match)) continue;
      if (fault.after) {
        fault.after--;
        continue;
      }
      if (fault.times === 0) continue;
      if (fault.times) fault.times--;
      return fault.action;
    }
    return null;
  }

  async #pass(answer: IncomingMessage, response: ServerResponse, fault: Fault["action"] | null): Promise<void> {
    const headers = { ...answer.headers };
    if (fault === "chunked") delete headers["content-length"];
    response.writeHead(answer.statusCode ?? 502, headers);
    const body = Buffer.concat(await answer.toArray());
    const middle = body.length >> 1;
    if (fault === "flip") body.writeUInt8(body.readUInt8(middle) ^ 1, middle);
    if (fault === "cut") response.write(body.subarray(0, middle), () => response.destroy());
    else response.end(body);
  }

  async #control(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", this.url);
    const body = Buffer.concat(await request.toArray()).toString();
    switch (`${request.method} ${url.pathname}`) {
      case "PUT /test/faults":
        this.#faults = JSON.parse(body) as Fault[];
        break;
      case "PUT /test/settings":
        this.daemon.settings = JSON.parse(body) as Record<string, string>;
        break;
      case "POST /test/start":
        await this.daemon.start();
        break;
      case "POST /test/stop":
        await this.daemon.stop("SIGKILL");
        break;
      case "DELETE /test/seen":
        response.end(JSON.stringify(this.takeSeen()));
        return;
      default: {
        const file = join(this.photos, basename(url.pathname));
        response.writeHead(200, { "Content-Length": (await stat(file)).size, "Content-Type": "image/jpeg" });
        createReadStream(file).pipe(response);
        return;
      }
    }
    response.writeHead(204).end();
  }
}
