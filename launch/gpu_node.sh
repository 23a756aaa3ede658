#!/usr/bin/env bash
# Train on all GPUs of one machine, or on its processor cores if it has no GPU.
#
#   launch/gpu_node.sh [--processes N] [--gpus 0,1,2,3] [--any-order] [--dry-run] -- run --config quickstart
#
#   --processes N     number of processes, one for each GPU (default: one process for all GPUs)
#   --gpus LIST       GPUs to use (default: all), so that two runs can use different GPUs
#   --any-order       let the GPUs sum in any order: faster, but results are not bitwise reproducible (a flag of XLA)
#   --dry-run         print the commands without running them
#
# SIGTERM and ctrl-C are forwarded. Exit status 42 means that the state is saved and the same command continues.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PROCESSES=1 GPUS="" ANY_ORDER=""
while (($#)); do
  case $1 in
    --processes) PROCESSES=${2?"$1 needs a value"}; shift 2 ;;
    --gpus) GPUS=${2?"$1 needs a value"}; shift 2 ;;
    --any-order) ANY_ORDER=1; shift ;;
    --dry-run) DRY_RUN=1; shift ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) die "unknown option $1 (--help lists them)" ;;
  esac
done
(($#)) || die "give the arguments of npi-jax after --, such as: -- run --config quickstart"
number --processes "$PROCESSES"
[[ -z ${NPI_PORT:-} ]] || number NPI_PORT "$NPI_PORT"
if [[ -n $GPUS ]]; then
  [[ $GPUS =~ ^[0-9]+(,[0-9]+)*$ ]] || die "--gpus $GPUS: give numbers separated by commas, such as 0,1"
  IFS=, read -ra numbers <<<"$GPUS"
  repeated=$(printf '%s\n' "${numbers[@]}" | sort -n | uniq -d | head -n 1)
  [[ -z $repeated ]] || die "--gpus $GPUS: GPU $repeated is given twice"
  ((PROCESSES == 1 || PROCESSES == ${#numbers[@]})) ||
    die "--processes $PROCESSES with --gpus $GPUS: with one process for each GPU it must be ${#numbers[@]}"
elif ((PROCESSES > 1)) && command -v nvidia-smi >/dev/null; then
  there=$(nvidia-smi --list-gpus | grep -c '^GPU ') || true
  ((there == 0 || PROCESSES <= there)) || die "--processes $PROCESSES: this machine has $there GPUs"
fi

settings=("NCCL_DEBUG=${NCCL_DEBUG:-WARN}" "XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-.9}")
[[ -z $GPUS ]] || settings+=("CUDA_VISIBLE_DEVICES=$GPUS")
[[ -z $ANY_ORDER ]] || settings+=("XLA_FLAGS=${XLA_FLAGS:+$XLA_FLAGS }--xla_gpu_deterministic_ops=false")

if ((PROCESSES == 1)); then
  [[ -n $DRY_RUN ]] || exec env "${settings[@]}" npi-jax "$@"
  run env "${settings[@]}" npi-jax "$@"
  exit
fi

PORT=${NPI_PORT:-29400}
settings+=("NPI_COORDINATOR=127.0.0.1:$PORT" "NPI_NUM_PROCESSES=$PROCESSES")
pids=()
# Set before any process starts, so that no signal is lost.
trap 'kill -TERM "${pids[@]}" 2>/dev/null || true' TERM INT HUP
for ((i = 0; i < PROCESSES; i++)); do
  command=(env "${settings[@]}" "NPI_PROCESS_ID=$i" "JAX_LOCAL_DEVICE_IDS=$i" npi-jax "$@")
  if [[ -n $DRY_RUN ]]; then
    run "${command[@]}"
  else
    "${command[@]}" &
    pids+=($!)
  fi
done
status=0
for pid in "${pids[@]}"; do
  # A signal interrupts `wait` before the process has ended.
  while code=0; wait "$pid" || code=$?; kill -0 "$pid" 2>/dev/null; do :; done
  # 42 means that all have saved, so any other failure takes precedence.
  if ((code != 0)) && { ((status == 0 || status == 42)); }; then status=$code; fi
done
exit "$status"
