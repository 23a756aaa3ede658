# shellcheck shell=bash
# What the launch scripts share; sourced, not run.
set -euo pipefail

DRY_RUN=""

die() {
  echo "${0##*/}: $*" >&2
  exit 2
}

# Run a command, or with --dry-run print the very array that would be run, quoted so that a shell reads it back.
run() {
  if [[ -n $DRY_RUN ]]; then
    local words
    printf -v words '%q ' "$@"
    echo "${words% }"
  else
    "$@"
  fi
}

# The comment at the head of the script that calls.
usage() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

need() {
  local name
  for name in "$@"; do
    [[ -n ${!name:-} ]] || die "--${name,,} is missing (--help says more)"
  done
}

# Refuse an option's value that is not a whole number above 0.
number() {
  [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1 $2: a number above 0 is wanted"
}

# One string that a remote shell splits into the arguments again.
quoted() {
  local words
  printf -v words '%q ' "$@"
  echo "${words% }"
}
