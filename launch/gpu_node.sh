#!/usr/bin/env bash
# Train on all GPUs of one machine (or on its processor cores, where it has no GPU).
#
#   launch/gpu_node.sh [--processes N] [--gpus 0,1,2,3] [--any-order] [--dry-run] -- run --config quickstart
#
#   --processes N     one process for every GPU instead of one for all (default 1); they find one another through
#                     NPI_COORDINATOR on this machine
#   --gpus LIST       the GPUs to use (default: all); two runs side by side take a list each
#   --any-order       let the GPUs add up in any order: faster, and not the same bits at every run (a flag of XLA)
#   --dry-run         print the commands instead
#
# SIGTERM and ctrl-C are passed on; exit status 42 means that the state is saved and the same command goes on.
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
(($#)) || die "what is npi-jax to do? Give its arguments after --, such as: -- run --config quickstart"
number --processes "$PROCESSES"
[[ -z ${NPI_PORT:-} ]] || number NPI_PORT "$NPI_PORT"
if [[ -n $GPUS ]]; then
  [[ $GPUS =~ ^[0-9]+(,[0-9]+)*$ ]] || die "--gpus $GPUS: numbers with commas between them are wanted, such as 0,1"
  IFS=, read -ra numbers <<<"$GPUS"
  repeated=$(printf '%s\n' "${numbers[@]}" | sort -n | uniq -d | head -n 1)
  [[ -z $repeated ]] || die "--gpus $GPUS: GPU $repeated is there twice"
  ((PROCESSES == 1 || PROCESSES == ${#numbers[@]})) ||
    die "--processes $PROCESSES with --gpus $GPUS: one process a GPU makes ${#numbers[@]} processes"
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
# Set before any is started: a signal that comes in between would reach none.
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
  # A signal ends `wait` before the process has ended.
  while code=0; wait "$pid" || code=$?; kill -0 "$pid" 2>/dev/null; do :; done
  # 42 says that all have saved: any other failure goes before it.
  if ((code != 0)) && { ((status == 0 || status == 42)); }; then status=$code; fi
done
exit "$status"
