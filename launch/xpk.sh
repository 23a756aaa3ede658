#!/usr/bin/env bash
# Train on a GKE cluster through XPK.
#
#   launch/xpk.sh --cluster C --zone Z --project P --name WORKLOAD --type v5litepod-16 --image IMAGE [OPTIONS] \
#       -- run --config weber2021 --config.run_dir=/runs/weber2021
#
#   --slices N        slices of that type (default 1)
#   --priority P      priority of the workload (default medium)
#   --spot            use spot capacity
#   --restarts N      most restarts after preemption (default 50)
#   --grace SECONDS   time from SIGTERM to the end, enough to write a checkpoint (default 300)
#   --dry-run         print the command without running it
#
# IMAGE is built from launch/Dockerfile with --build-arg PLATFORM=tpu; its entry point is npi-jax. The run directory
# must be on a volume that all pods mount.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

CLUSTER="" ZONE="" PROJECT="" NAME="" TYPE="" IMAGE="" SLICES=1 PRIORITY=medium SPOT="" RESTARTS=50 GRACE=300
while (($#)); do
  case $1 in
    --cluster) CLUSTER=${2?"$1 needs a value"}; shift 2 ;;
    --zone) ZONE=${2?"$1 needs a value"}; shift 2 ;;
    --project) PROJECT=${2?"$1 needs a value"}; shift 2 ;;
    --name) NAME=${2?"$1 needs a value"}; shift 2 ;;
    --type) TYPE=${2?"$1 needs a value"}; shift 2 ;;
    --image) IMAGE=${2?"$1 needs a value"}; shift 2 ;;
    --slices) SLICES=${2?"$1 needs a value"}; shift 2 ;;
    --priority) PRIORITY=${2?"$1 needs a value"}; shift 2 ;;
    --restarts) RESTARTS=${2?"$1 needs a value"}; shift 2 ;;
    --grace) GRACE=${2?"$1 needs a value"}; shift 2 ;;
    --spot) SPOT=1; shift ;;
    --dry-run) DRY_RUN=1; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) die "unknown option $1 (--help lists them)" ;;
  esac
done
need CLUSTER ZONE PROJECT NAME TYPE IMAGE
number --slices "$SLICES"
number --grace "$GRACE"
[[ $RESTARTS =~ ^[0-9]+$ ]] || die "--restarts $RESTARTS: it must be a number"
(($#)) || die "give the arguments of npi-jax after --, such as: -- run --config weber2021"

command=(
  xpk workload create "--cluster=$CLUSTER" "--zone=$ZONE" "--project=$PROJECT" "--workload=$NAME" "--tpu-type=$TYPE"
  "--num-slices=$SLICES" "--docker-image=$IMAGE" "--priority=$PRIORITY" "--max-restarts=$RESTARTS"
  "--termination-grace-period-seconds=$GRACE"
)
[[ -z $SPOT ]] || command+=(--spot)
# exec replaces the shell by npi-jax, because a waiting shell would not forward SIGTERM.
run "${command[@]}" "--command=exec npi-jax $(quoted "$@")"
