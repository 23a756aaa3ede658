#!/usr/bin/env bash
# Train on a Cloud TPU slice: create it, copy the code, run on all workers, continue after preemption, delete it.
#
#   launch/tpu_vm.sh COMMAND --name NAME --zone ZONE --type v5litepod-16 [OPTIONS] [-- run --config weber2021]
#
# Commands
#   create    request the slice (with --queued: as a queued resource, and wait until it is ready)
#   install   copy this repository's last commit to all workers and install it
#   run       run npi-jax with the arguments after -- on all workers, and wait until it ends
#   train     create, install and run; repeat if the slice is preempted, until the run has ended
#   delete    delete the slice
#
# Options
#   --project P     the project (default: gcloud's)
#   --spot          spot capacity: cheaper, but can be preempted at any time
#   --queued        a queued resource, which waits for capacity; needed for most spot slices
#   --runtime V     software of the workers (default: by --type)
#   --bucket B      bucket (with hierarchical namespace) to mount at ~/runs on all workers; put run_dir there, because
#                   all workers must see it and it must outlive the slice
#   --poll SECONDS  interval of polling the state (default 30)
#   --dry-run       print the commands without running them
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NAME="" ZONE="" TYPE="" PROJECT="" SPOT="" QUEUED="" RUNTIME="" BUCKET="" POLL=30
[[ ${1:-} != --help && ${1:-} != -h ]] || { usage; exit 0; }
COMMAND=${1:-}
case $COMMAND in
  create | install | run | train | delete) shift ;;
  "") die "give a command: create, install, run, train or delete (see --help)" ;;
  *) die "unknown command $COMMAND: create, install, run, train or delete" ;;
esac
while (($#)); do
  case $1 in
    --name) NAME=${2?"$1 needs a value"}; shift 2 ;;
    --zone) ZONE=${2?"$1 needs a value"}; shift 2 ;;
    --type) TYPE=${2?"$1 needs a value"}; shift 2 ;;
    --project) PROJECT=${2?"$1 needs a value"}; shift 2 ;;
    --runtime) RUNTIME=${2?"$1 needs a value"}; shift 2 ;;
    --bucket) BUCKET=${2?"$1 needs a value"}; shift 2 ;;
    --poll) POLL=${2?"$1 needs a value"}; shift 2 ;;
    --spot) SPOT=1; shift ;;
    --queued) QUEUED=1; shift ;;
    --dry-run) DRY_RUN=1; shift ;;
    --) shift; break ;;
    *) die "unknown option $1 (--help lists them)" ;;
  esac
done
need NAME ZONE
number "--poll" "$POLL"
WHERE=("--zone=$ZONE")
[[ -z $PROJECT ]] || WHERE+=("--project=$PROJECT")
# Bash functions see the local variables of their callers; read-only globals cannot be shadowed.
readonly NAME ZONE TYPE PROJECT SPOT QUEUED RUNTIME BUCKET POLL COMMAND WHERE

# Images that Google's documentation names for each generation.
runtime() {
  if [[ -n $RUNTIME ]]; then echo "$RUNTIME"; return; fi
  case $TYPE in
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    *) echo tpu-ubuntu2204-base ;;
  esac
}

create() {
  need TYPE
  local spot=()
  [[ -z $SPOT ]] || spot=(--spot)
  if [[ -n $QUEUED ]]; then
    run gcloud compute tpus queued-resources create "$NAME" "--node-id=$NAME" "${WHERE[@]}" \
      "--accelerator-type=$TYPE" "--runtime-version=$(runtime)" "${spot[@]}"
    await
  else
    run gcloud compute tpus tpu-vm create "$NAME" "${WHERE[@]}" "--accelerator-type=$TYPE" "--version=$(runtime)" \
      "${spot[@]}"
  fi
}

state() {
  if [[ -n $QUEUED ]]; then
    run gcloud compute tpus queued-resources describe "$NAME" "${WHERE[@]}" "--format=value(state.state)"
  else
    run gcloud compute tpus tpu-vm describe "$NAME" "${WHERE[@]}" "--format=value(state)"
  fi
}

# Wait until a queued resource is ready.
await() {
  if [[ -n $DRY_RUN ]]; then state; return; fi
  local now missed=0
  while true; do
    if now=$(state); then missed=0; else now=unknown missed=$((missed + 1)); fi
    case $now in
      ACTIVE | READY) return ;;
      FAILED | SUSPENDING | SUSPENDED | PREEMPTED | TERMINATED) die "$NAME is $now; delete it, and create it again" ;;
      *) ((missed < 20)) || die "gcloud does not report the state of $NAME"; echo "$NAME: $now"; sleep "$POLL" ;;
    esac
  done
}

on_all() {
  run gcloud compute tpus tpu-vm ssh "$NAME" "${WHERE[@]}" --worker=all "--ssh-flag=-o ServerAliveInterval=30" \
    "--command=$1"
}

install() {
  local archive=npi_jax.tar.gz folder=FOLDER
  # A private folder, because others could replace a file with a known name in a shared one.
  if [[ -z $DRY_RUN ]]; then
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
  fi
  run git -C "$(dirname "${BASH_SOURCE[0]}")/.." archive --format=tar.gz "--output=$folder/$archive" HEAD
  # The first connection creates keys, which must not happen for all workers at once.
  run gcloud compute tpus tpu-vm ssh "$NAME" "${WHERE[@]}" --worker=0 --command=true
  run gcloud compute tpus tpu-vm scp "$folder/$archive" "$NAME:" "${WHERE[@]}" --worker=all
  local mount=""
  [[ -z $BUCKET ]] || mount=" && mkdir -p ~/runs && (mountpoint -q ~/runs || gcsfuse --implicit-dirs $(quoted "$BUCKET") ~/runs)"
  # The default Python of the workers is too old.
  on_all "sudo apt-get install -qq -y python3.11-venv && mkdir -p npi_jax && tar xzf $archive -C npi_jax && cd npi_jax \
&& python3.11 -m venv .venv && .venv/bin/pip install -q -c constraints.txt '.[tpu]'$mount"
}

run_all() {
  (($#)) || die "give the arguments of npi-jax after --, such as: -- run --config weber2021"
  on_all "cd npi_jax && .venv/bin/npi-jax $(quoted "$@")"
}

delete() {
  if [[ -n $QUEUED ]]; then
    run gcloud compute tpus queued-resources delete "$NAME" "${WHERE[@]}" --force --quiet
  else
    run gcloud compute tpus tpu-vm delete "$NAME" "${WHERE[@]}" --quiet
  fi
}

# Print whether the slice is ready (there), deleted or preempted (gone), does not exist (absent), or is starting (coming).
whereabouts() {
  local now
  if ! now=$(state 2>&1); then
    if [[ $now == *NOT_FOUND* || $now == *"not found"* ]]; then echo absent; else echo unknown; fi
    return
  fi
  case $now in
    ACTIVE | READY) echo there ;;
    FAILED | SUSPENDING | SUSPENDED | PREEMPTED | TERMINATED) echo gone ;;
    *) echo coming ;;
  esac
}

train() {
  local status found missed=0
  if [[ -n $DRY_RUN ]]; then create; install; run_all "$@"; return; fi
  while true; do
    found=$(whereabouts)
    [[ $found == unknown ]] || missed=0
    case $found in
      gone) delete; create; install ;;
      absent) create; install ;;
      coming) await; install ;;
      # A slice is never deleted only because gcloud did not answer.
      unknown)
        missed=$((missed + 1))
        ((missed < 20)) || die "gcloud does not report the state of $NAME, which may still exist: $(state 2>&1 | tail -n 1)"
        echo "$NAME: gcloud does not answer"; sleep "$POLL"; continue ;;
    esac
    status=0
    run_all "$@" || status=$?
    ((status != 0)) || return 0
    found=$(whereabouts)
    # 42 and 43 mean stopped and saved, 255 a lost connection. On a slice that is ready, any other status is an error
    # of the run.
    if [[ $found == there ]] && ((status != 42 && status != 43 && status != 255)); then return "$status"; fi
    echo "$NAME: ended with status $status ($found); continuing from the last checkpoint"
    sleep "$POLL"
  done
}

case $COMMAND in
  create | install | delete) "$COMMAND" ;;
  run) run_all "$@" ;;
  train) train "$@" ;;
esac
