// Prepares an account and deploys the Worker: creates what is missing, generates
// the secrets, and prints the configuration of the daemon. It can be repeated at any
// time; what is there is reused.
//
//   npm run setup -- --optimizer https://img.example.com [--url https://photos.example.com]
//   npm run setup -- --vpc SERVICE_ID [--url …]
//   npm run setup -- --direct …       the daemon writes into the bucket itself
//   npm run setup -- --dry-run …      only says what it would do
//
// The tokens of Access, if the hostname is behind it, come from the environment:
// ACCESS_CLIENT_ID and ACCESS_CLIENT_SECRET.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const names = {
  bucket: "optimizerd-images",
  kv: "optimizerd-meta",
  d1: "optimizerd-gallery",
  queue: "optimizerd-work",
};
const lifecycle = [
  ["uploads", "state/uploads/", "30"],
  ["sessions", "state/sessions/", "31"],
];
const configFile = "wrangler.jsonc";
/** Secrets cannot be read back from Cloudflare, and the daemon needs two of them. */
const secretsFile = ".secrets.json";

const { values: options } = parseArgs({
  options: {
    optimizer: { type: "string" },
    vpc: { type: "string" },
    url: { type: "string" },
    direct: { type: "boolean", default: false },
    "dry-run": { type: "boolean", default: false },
  },
});
const dry = options["dry-run"];

function fail(text) {
  console.error(`setup: ${text}`);
  process.exit(1);
}

/** Runs wrangler; returns its output, or null if it fails. */
function ask(...args) {
  const wrangler = process.env.WRANGLER ?? "wrangler"; // npm run has it in PATH
  const { status, stdout, error } = spawnSync(wrangler, args, {
    encoding: "utf8",
    stdio: ["inherit", "pipe", dry ? "ignore" : "pipe"],
  });
  if (error) fail(`${wrangler} cannot be run: ${error.message}; run npm ci --ignore-scripts first.`);
  return status === 0 ? stdout : null;
}

/** Changes something in the account, unless this is a dry run. */
function act(...args) {
  console.log(`${dry ? "would run" : "run"}: wrangler ${args.join(" ")}`);
  if (dry) return "";
  const output = ask(...args);
  if (output === null) fail(`wrangler ${args.join(" ")} failed; run it by hand to see why, then run setup again.`);
  return output;
}

/** Parses the list in the output of a command, which may have a heading. */
function list(output) {
  return output === null ? [] : JSON.parse(output.slice(output.indexOf("[")) || "[]");
}

/** Finds something by name, or creates it. Returns its id. */
function findOrCreate(what, find, create) {
  const id = find();
  if (id !== undefined) {
    console.log(`reuse: ${what}`);
    return id;
  }
  act(...create);
  if (dry) return "(new)";
  return find() ?? fail(`${what} was created, but is not in the list; run setup again.`);
}

if (!options.optimizer === !options.vpc)
  fail("give either --optimizer URL or --vpc SERVICE_ID; README.md explains both.");
for (const url of [options.optimizer, options.url]) {
  if (url !== undefined && !/^https:\/\/[^/]+$/.test(url))
    fail(`${url} must be https:// and a host name, nothing else.`);
}
const environment = ["--env", options.vpc ? "vpc" : ""];
// In a dry run nothing is asked of an account that need not exist.
const identity = dry ? "" : (ask("whoami") ?? fail("sign in first: npx wrangler login"));
const known = (...args) => (dry ? null : ask(...args));

const unlessKnown = (args) => () => (known(...args) === null ? undefined : true);
const { bucket, queue } = names;
findOrCreate(`bucket ${bucket}`, unlessKnown(["r2", "bucket", "info", bucket]), [
  ...["r2", "bucket", "create", bucket, "--update-config=false"],
]);
const kv = findOrCreate(
  `KV namespace ${names.kv}`,
  () => list(known("kv", "namespace", "list")).find(({ title }) => title === names.kv)?.id,
  ["kv", "namespace", "create", names.kv, "--update-config=false"],
);
const d1 = findOrCreate(
  `database ${names.d1}`,
  () => list(known("d1", "list", "--json")).find(({ name }) => name === names.d1)?.uuid,
  ["d1", "create", names.d1, "--update-config=false"],
);
findOrCreate(`queue ${queue}`, unlessKnown(["queues", "info", queue]), ["queues", "create", queue]);
const rules = known("r2", "bucket", "lifecycle", "list", bucket) ?? "";
for (const [name, prefix, days] of lifecycle) {
  if (!rules.includes(prefix)) act("r2", "bucket", "lifecycle", "add", bucket, name, prefix, "--expire-days", days);
}

/** Writes what is known now into wrangler.jsonc, in all its environments. */
function configure(publicUrl) {
  let text = readFileSync(configFile, "utf8");
  const set = (name, value) => {
    text = text.replaceAll(new RegExp(`("${name}": )"[^"]*"`, "g"), (_, key) => key + JSON.stringify(value));
  };
  text = text.replaceAll(/("binding": "META", "id": )"[^"]*"/g, (_, key) => key + JSON.stringify(kv));
  set("database_id", d1);
  if (options.vpc) set("service_id", options.vpc);
  // The first is that of the environment without a name.
  else text = text.replace(/("OPTIMIZER_URL": )"[^"]*"/, (_, key) => key + JSON.stringify(options.optimizer));
  if (publicUrl) set("PUBLIC_URL", publicUrl);
  if (options.direct) text = text.replaceAll('"DIRECT": false', '"DIRECT": true');
  if (text === readFileSync(configFile, "utf8")) return;
  console.log(`${dry ? "would write" : "write"}: ${configFile}`);
  if (!dry) writeFileSync(configFile, text);
}

const saved = existsSync(secretsFile) ? JSON.parse(readFileSync(secretsFile, "utf8")) : {};
const secrets = {
  OPTIMIZER_TOKEN: randomBytes(32).toString("hex"),
  WEBHOOK_SECRET: `whsec_${randomBytes(32).toString("base64")}`,
  UPLOAD_TOKEN: randomBytes(32).toString("hex"),
  SESSION_SECRET: randomBytes(32).toString("hex"),
  HOOK_SECRET: `whsec_${randomBytes(32).toString("base64")}`,
  ...saved,
};
for (const name of ["ACCESS_CLIENT_ID", "ACCESS_CLIENT_SECRET"]) {
  if (process.env[name]) secrets[name] = process.env[name];
}
if (dry) console.log(`would write: ${secretsFile}`);
else writeFileSync(secretsFile, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });

configure(options.url);
const deployed = act("deploy", ...environment);
const [address] = /https:\/\/[^\s]+\.workers\.dev/.exec(deployed) ?? [];
const site = options.url ?? address ?? "https://YOUR-WORKER";
const file = join(tmpdir(), `optimizerd-secrets-${process.pid}.json`);
if (!dry) writeFileSync(file, JSON.stringify(secrets), { mode: 0o600 });
try {
  act("secret", "bulk", dry ? secretsFile : file, ...environment);
} finally {
  rmSync(file, { force: true });
}
if (!options.url && address) {
  configure(address);
  act("deploy", ...environment);
}

const shown = (secret) => (dry ? "…" : secret);
let direct = "";
if (options.direct) {
  const [account] = /\b[0-9a-f]{32}\b/.exec(identity) ?? ["ACCOUNT"];
  direct = `
For the files in the bucket, create the daemon's key: dashboard, R2, Manage API tokens,
a token with the permission "Object Read & Write" for the bucket ${bucket} alone. Put
its Access Key ID and its Secret Access Key into /etc/credstore/optimizerd.s3-key, one
per line, mode 600, and this into /etc/optimizerd/config.yaml (docs/r2.md has the rest):

storage:
  upload_memory: 64MiB
  s3:
    endpoint: https://${account}.r2.cloudflarestorage.com
    bucket: ${bucket}

Then:
`;
}
console.log(`
The gallery: ${site}
Sign in with: ${shown(secrets.UPLOAD_TOKEN)}

The daemon needs two of the secrets. On its machine (docs/secrets.md has the
container's way):

echo '${shown(secrets.OPTIMIZER_TOKEN)}' | sudo tee -a /etc/credstore/optimizerd.tokens >/dev/null
echo '${shown(secrets.WEBHOOK_SECRET)}' | sudo tee -a /etc/credstore/optimizerd.webhook-secrets >/dev/null
sudo sed -i 's/^  keep_originals: .*/  keep_originals: true/' /etc/optimizerd/config.yaml${direct}
sudo systemctl restart optimizerd

The secrets are in ${secretsFile}, which git ignores; setup uses them again.`);
