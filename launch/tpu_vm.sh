#!/usr/bin/env bash
# Train on a Cloud TPU slice: create it, copy the code, run on all its workers, go on after pre-emption, delete it.
#
#   launch/tpu_vm.sh COMMAND --name NAME --zone ZONE --type v5litepod-16 [OPTIONS] [-- run --config weber2021]
#
# Commands
#   create    ask for the slice (with --queued: as a queued resource, and wait until it is there)
#   install   copy this repository's last commit to all workers and install it
#   run       run npi-jax with the arguments after -- on all workers; ends when it ends
#   train     create, install and run; where the slice is taken away, do so again, until the run has ended
#   delete    give the slice back
#
# Options
#   --project P     the project (default: gcloud's)
#   --spot          cheaper, and may be taken away at any time
#   --queued        a queued resource: it waits until there is room; the way to get spot slices
#   --runtime V     software of the workers (default: by --type)
#   --bucket B      a bucket (with hierarchical namespace) mounted at ~/runs on all workers; give the run a run_dir
#                   there: all workers must see it, and it must outlive the slice
#   --poll SECONDS  between two looks at the state of a queued resource (default 30)
#   --dry-run       print the commands instead
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

NAME="" ZONE="" TYPE="" PROJECT="" SPOT="" QUEUED="" RUNTIME="" BUCKET="" POLL=30
[[ ${1:-} != --help && ${1:-} != -h ]] || { usage; exit 0; }
COMMAND=${1:-}
case $COMMAND in
  create | install | run | train | delete) shift ;;
  "") die "which command? create, install, run, train or delete (--help says more)" ;;
  *) die "unknown command $COMMAND: create, install, run, train or delete" ;;
esac
while (($#)); do
  case $1 in
    --name) NAME=$2; shift 2 ;;
    --zone) ZONE=$2; shift 2 ;;
    --type) TYPE=$2; shift 2 ;;
    --project) PROJECT=$2; shift 2 ;;
    --runtime) RUNTIME=$2; shift 2 ;;
    --bucket) BUCKET=$2; shift 2 ;;
    --poll) POLL=$2; shift 2 ;;
    --spot) SPOT=1; shift ;;
    --queued) QUEUED=1; shift ;;
    --dry-run) DRY_RUN=1; shift ;;
    --) shift; break ;;
    *) die "unknown option $1 (--help lists them)" ;;
  esac
done
need NAME ZONE
where=("--zone=$ZONE")
[[ -z $PROJECT ]] || where+=("--project=$PROJECT")

# The images of Google's documentation, by generation.
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
    run gcloud compute tpus queued-resources create "$NAME" "--node-id=$NAME" "${where[@]}" \
      "--accelerator-type=$TYPE" "--runtime-version=$(runtime)" "${spot[@]}"
    await
  else
    run gcloud compute tpus tpu-vm create "$NAME" "${where[@]}" "--accelerator-type=$TYPE" "--version=$(runtime)" \
      "${spot[@]}"
  fi
}

state() {
  if [[ -n $QUEUED ]]; then
    run gcloud compute tpus queued-resources describe "$NAME" "${where[@]}" "--format=value(state.state)"
  else
    run gcloud compute tpus tpu-vm describe "$NAME" "${where[@]}" "--format=value(state)"
  fi
}

# Until a queued resource is there.
await() {
  if [[ -n $DRY_RUN ]]; then state; return; fi
  local now
  while now=$(state); do
    case $now in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED) die "$NAME is $now; delete it, and create it again" ;;
      *) echo "$NAME: $now"; sleep "$POLL" ;;
    esac
  done
}

on_all() {
  run gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker=all "--ssh-flag=-o ServerAliveInterval=30" \
    "--command=$1"
}

install() {
  local archive=npi_jax.tar.gz
  run git -C "$(dirname "${BASH_SOURCE[0]}")/.." archive --format=tar.gz "--output=/tmp/$archive" HEAD
  # Keys are made on the first connection; made for all workers at once they would get in one another's way.
  run gcloud compute tpus tpu-vm ssh "$NAME" "${where[@]}" --worker=0 --command=true
  run gcloud compute tpus tpu-vm scp "/tmp/$archive" "$NAME:" "${where[@]}" --worker=all
  local mount=""
  [[ -z $BUCKET ]] || mount=" && mkdir -p ~/runs && (mountpoint -q ~/runs || gcsfuse --implicit-dirs $(quoted "$BUCKET") ~/runs)"
  # The workers' own Python is too old.
  on_all "sudo apt-get install -qq -y python3.11-venv && mkdir -p npi_jax && tar xzf $archive -C npi_jax && cd npi_jax \
&& python3.11 -m venv .venv && .venv/bin/pip install -q -c constraints.txt '.[tpu]'$mount"
}

run_all() {
  (($#)) || die "what is npi-jax to do? Give its arguments after --, such as: -- run --config weber2021"
  on_all "cd npi_jax && .venv/bin/npi-jax $(quoted "$@")"
}

delete() {
  if [[ -n $QUEUED ]]; then
    run gcloud compute tpus queued-resources delete "$NAME" "${where[@]}" --force --quiet
  else
    run gcloud compute tpus tpu-vm delete "$NAME" "${where[@]}" --quiet
  fi
}

is_there() {
  local now
  now=$(state 2>/dev/null) && [[ $now == ACTIVE || $now == READY ]]
}

train() {
  local status
  if [[ -n $DRY_RUN ]]; then create; install; run_all "$@"; return; fi
  while true; do
    if ! is_there; then
      delete 2>/dev/null || true
      create
      install
    fi
    status=0
    run_all "$@" || status=$?
    ((status != 0)) || return 0
    # Asked to stop and saved, or out of reach: where the slice is gone it is made anew, otherwise it is an error.
    if is_there && ((status != 42 && status != 255)); then return "$status"; fi
    echo "$NAME: ended with status $status; going on from the last checkpoint"
    sleep "$POLL"
  done
}

case $COMMAND in
  create | install | delete) "$COMMAND" ;;
  run) run_all "$@" ;;
  train) train "$@" ;;
esac
