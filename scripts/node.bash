# shellcheck shell=bash
# Sourced, in the project's root, by scripts that run the Worker's programs. Needs npm
# (scripts/install-deps npm).

# Nothing is sent to anybody, and nothing asks for a terminal.
export CI=1 NO_COLOR=1
export WRANGLER_SEND_METRICS=false WRANGLER_SEND_ERROR_REPORTS=false WRANGLER_HIDE_BANNER=true
export CLOUDFLARE_CF_FETCH_ENABLED=false WRANGLER_LOG=warn
export WRANGLER_LOG_PATH=$PWD/.cache/logs/wrangler
rm -rf "$WRANGLER_LOG_PATH" # wrangler adds a file at each start

# Node brings its own list of authorities; this machine's may have more.
authorities=/etc/ssl/certs/ca-certificates.crt
if [[ -e $authorities ]]; then export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$authorities}; fi

npm=(npm)
# What is locked, if it is not there already. No package gets to run anything.
install_locked() { # DIR
  [[ $1/node_modules/.package-lock.json -nt $1/package-lock.json ]] ||
    (cd "$1" && "${npm[@]}" ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error)
}

# The packages of the Worker, their programs in PATH, and a Node.js that runs them. Of
# the network it uses the npm registry alone, and that only after a change of a lock file.
worker_packages() {
  local needed=20.19 have node tools=$PWD/scripts/tools/node/node_modules
  have=$(node --version) || return
  if ! printf '%s\n' "$needed" "${have#v}" | sort -VC; then
    # Debian 12 has Node 18. An npm that runs on that leaves out what wants more,
    # so it brings us Node and npm, and these bring the rest.
    install_locked scripts/tools/node || return
    node=("$tools"/node-linux-*/bin)
    [[ -x ${node[0]}/node ]] ||
      { echo "there is no Node.js $needed or newer for $(uname -m); install one by hand" >&2 && return 1; }
    export PATH="${node[0]}:$PATH"
    npm=(node "$tools/npm/bin/npm-cli.js")
  fi
  install_locked worker || return
  export PATH="$PWD/worker/node_modules/.bin:$PATH"
}
