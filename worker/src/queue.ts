// The queue's consumer.

import type { Env, Work } from "./env";
import { OptimizerError } from "./optimizer";
import { deleteCopyLater, giveUp, pull } from "./pull";
import { poll } from "./upload";

/** Same as max_retries in wrangler.jsonc. With the delays below, about half a day. */
const maxRetries = 20;
const longestWait = 60 * 60;

export async function consume(messages: readonly Message<Work>[], env: Env): Promise<void> {
  for (const message of messages) {
    try {
      await handle(env, message.body);
      message.ack();
    } catch (error) {
      console.error(JSON.stringify({ message: message.body, attempts: message.attempts, error: String(error) }));
      const reason = error instanceof OptimizerError ? error : new OptimizerError(0, "storage_failed", String(error));
      const hopeless = reason.code === "not_found" || message.attempts > maxRetries;
      if (hopeless && message.body.kind === "pull") {
        await giveUp(env, message.body.image, message.body.run, reason);
        message.ack();
      } else if (hopeless && message.body.kind === "forget") {
        // A deleted photo must be deleted from the daemon too, however long
        // that is off.
        await env.WORK.send(message.body, { delaySeconds: longestWait });
        message.ack();
      } else {
        message.retry({ delaySeconds: Math.min(5 * 2 ** message.attempts, longestWait) });
      }
    }
  }
}

async function handle(env: Env, message: Work): Promise<void> {
  switch (message.kind) {
    case "pull":
      return pull(env, message.image, message.run, message.from);
    case "poll":
      return poll(env, message.upload, message.attempt);
    case "forget":
      return deleteCopyLater(env, message.image);
  }
}
