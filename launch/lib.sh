# shellcheck shell=bash
# Functions of the launch scripts; source this file.
set -euo pipefail

DRY_RUN=""

die() {
  echo "${0##*/}: $*" >&2
  exit 2
}

# Run a command, or print it with --dry-run, quoted for a shell.
run() {
  if [[ -n $DRY_RUN ]]; then
    local words
    printf -v words '%q ' "$@"
    echo "${words% }"
  else
    "$@"
  fi
}

# Print the first comment of the calling script.
usage() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

need() {
  local name
  for name in "$@"; do
    [[ -n ${!name:-} ]] || die "--${name,,} is missing (see --help)"
  done
}

# Refuse a value that is not a whole number above 0.
number() {
  [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1 $2: it must be a whole number above 0"
}

# Quote arguments into one string for a remote shell.
quoted() {
  local words
  printf -v words '%q ' "$@"
  echo "${words% }"
}
