# shellcheck shell=bash
# Sourced by scripts that show their progress, one line a step: a spinner with
# the seconds on a terminal, elsewhere plain lines and one more each minute. What the commands of a step
# print goes to a log file, whose end is shown when a step fails.
# The caller sets `log` to the path of that file, if it calls step.

bold='' dim='' green='' red='' off=''
terminal=''
if [[ -t 1 && ${TERM:-dumb} != dumb ]]; then
  terminal=yes
  if [[ -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' off=$'\e[0m'
  fi
fi

title() { printf '\n%s%s%s\n' "$bold" "$*" "$off"; }
ok() { printf '%s✓%s %s\n' "$green" "$off" "$*"; }

# Redraws the line of a step until killed, or until the script is gone.
spin() {
  local frames='|/-=' i=0 start=$SECONDS
  while kill -0 $$ 2>/dev/null; do
    printf '\r%s %s %s%d s%s\e[K' "${frames:i++ % 4:1}" "$1" "$dim" $((SECONDS - start)) "$off"
    sleep 0.2
  done
}

remind() {
  local start=$SECONDS
  # sleep outlives a loop that is killed, so it must hold no pipe open.
  while sleep 60 >/dev/null 2>&1 3>&- && kill -0 $$ 2>/dev/null; do
    printf '  %s (%d s so far)\n' "$1" $((SECONDS - start))
  done
}

# step TITLE COMMAND…: the status is that of the command.
step() {
  local title=$1 start=$SECONDS progress status=0
  shift
  mkdir -p "$(dirname "${log:?}")"
  printf '\n=== %s: %s\n' "$title" "$*" >>"$log"
  if [[ $terminal ]]; then
    spin "$title" &
  else
    printf '  %s\n' "$title"
    remind "$title" &
  fi
  progress=$!
  "$@" >>"$log" 2>&1 </dev/null || status=$?
  kill "$progress" 2>/dev/null || true
  wait "$progress" 2>/dev/null || true
  [[ ! $terminal ]] || printf '\r\e[K'
  if ((status == 0)); then
    ok "$title $dim($((SECONDS - start)) s)$off"
  else
    printf '%s✗ %s failed with exit status %d. The end of %s:%s\n' "$red" "$title" "$status" "$log" "$off" >&2
    tail -n 25 "$log" | sed 's/^/    /' >&2
  fi
  return "$status"
}
