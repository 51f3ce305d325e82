// The queue's consumer.

import type { Env, Work } from "./env";
import { workInbox } from "./inbox";
import { deliverHook } from "./hook";
import { OptimizerError } from "./optimizer";
import { deleteCopy, workLeftovers } from "./leftovers";
import { giveUp, pull } from "./pull";
import { workRemake } from "./remake";
import { workTrash } from "./trash";

/** Same as max_retries in wrangler.jsonc. With the delays below, about half a day. */
const maxRetries = 20;
const longestWait = 60 * 60;

export async function consume(messages: readonly Message<Work>[], env: Env): Promise<void> {
  for (const message of messages) {
    try {
      await handle(env, message.body);
      message.ack();
    } catch (error) {
      // The address of a build hook is a secret; the error names its host.
      const { url: _, ...shown } = { url: "", ...message.body };
      console.error(JSON.stringify({ message: shown, attempts: message.attempts, error: String(error) }));
      const reason = error instanceof OptimizerError ? error : new OptimizerError(0, "storage_failed", String(error));
      const hopeless = reason.code === "not_found" || message.attempts > maxRetries;
      if (hopeless && message.body.kind === "pull") {
        await giveUp(env, message.body.image, message.body.run, reason);
        message.ack();
      } else if (
        ["inbox", "leftovers", "remake", "trash"].includes(message.body.kind) ||
        (message.body.kind === "hook" && message.attempts > maxRetries)
      ) {
        message.ack(); // the next tick enqueues it again; a webhook's receiver had half a day
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
    case "inbox":
      return workInbox(env, message.run, message.after, message.idle);
    case "remake":
      return workRemake(env, message.run);
    case "leftovers":
      return workLeftovers(env, message.after);
    case "trash":
      return workTrash(env, message.after);
    case "hook":
      return deliverHook(env, message);
    case "forget":
      return deleteCopy(env, message.image);
  }
}
