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
# Functions see the locals of those that call them: what is read only cannot be hidden by one.
readonly NAME ZONE TYPE PROJECT SPOT QUEUED RUNTIME BUCKET POLL COMMAND WHERE

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

# Until a queued resource is there.
await() {
  if [[ -n $DRY_RUN ]]; then state; return; fi
  local now missed=0
  while true; do
    if now=$(state); then missed=0; else now=unknown missed=$((missed + 1)); fi
    case $now in
      ACTIVE | READY) return ;;
      FAILED | SUSPENDING | SUSPENDED | PREEMPTED | TERMINATED) die "$NAME is $now; delete it, and create it again" ;;
      *) ((missed < 20)) || die "gcloud does not say what became of $NAME"; echo "$NAME: $now"; sleep "$POLL" ;;
    esac
  done
}

on_all() {
  run gcloud compute tpus tpu-vm ssh "$NAME" "${WHERE[@]}" --worker=all "--ssh-flag=-o ServerAliveInterval=30" \
    "--command=$1"
}

install() {
  local archive=npi_jax.tar.gz folder=FOLDER
  # A folder of our own: what lies in a common one under a known name, others could exchange.
  if [[ -z $DRY_RUN ]]; then
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
  fi
  run git -C "$(dirname "${BASH_SOURCE[0]}")/.." archive --format=tar.gz "--output=$folder/$archive" HEAD
  # Keys are made on the first connection; made for all workers at once they would get in one another's way.
  run gcloud compute tpus tpu-vm ssh "$NAME" "${WHERE[@]}" --worker=0 --command=true
  run gcloud compute tpus tpu-vm scp "$folder/$archive" "$NAME:" "${WHERE[@]}" --worker=all
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
    run gcloud compute tpus queued-resources delete "$NAME" "${WHERE[@]}" --force --quiet
  else
    run gcloud compute tpus tpu-vm delete "$NAME" "${WHERE[@]}" --quiet
  fi
}

# Whether the slice is there, is gone for good, has never been, or is on its way.
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
      # A slice is never given back because gcloud did not answer.
      unknown)
        missed=$((missed + 1))
        ((missed < 20)) || die "gcloud does not say what became of $NAME, which may be there still: $(state 2>&1 | tail -n 1)"
        echo "$NAME: gcloud does not answer"; sleep "$POLL"; continue ;;
    esac
    status=0
    run_all "$@" || status=$?
    ((status != 0)) || return 0
    found=$(whereabouts)
    # Asked to stop (42) or cut off from us (43) and saved, or out of reach; anything else, on a slice that is there, is
    # an error of the run.
    if [[ $found == there ]] && ((status != 42 && status != 43 && status != 255)); then return "$status"; fi
    echo "$NAME: ended with status $status ($found); going on from the last checkpoint"
    sleep "$POLL"
  done
}

case $COMMAND in
  create | install | delete) "$COMMAND" ;;
  run) run_all "$@" ;;
  train) train "$@" ;;
esac
