#!/usr/bin/env bash
# Test a checkpoint on a Slurm cluster, one task per GPU.
set -euo pipefail

usage() {
    cat << 'EOF'
usage: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [OPTIONS OF tools/test.py]

    GPUS           number of GPUs in all (default 8)
    GPUS_PER_NODE  of these on one machine (default GPUS, at most 8)
    CPUS_PER_TASK  cores for each GPU (default 8)
    SRUN_ARGS      further options of srun, e.g. "--time=24:00:00"
  PYTHON names the interpreter.

example: tools/slurm_test.sh video inti configs/inti/vitb_k400.py work_dirs/vitb_k400/epoch_30.pth
EOF
}
case "${1:-}" in -h | --help) usage; exit 0 ;; esac
if [ "$#" -lt 4 ]; then
    usage >&2
    exit 2
fi

. "$(dirname "${BASH_SOURCE[0]}")/find_python.sh"
check_file CONFIG "$3"
gpus="${GPUS:-8}"
check_positive GPUS "$gpus"
gpus_per_node="${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}"
check_positive GPUS_PER_NODE "$gpus_per_node"
if ! command -v srun > /dev/null 2>&1; then
    echo "slurm_test.sh: srun was not found: run this on a Slurm login node," \
        "or use tools/dist_test.sh." >&2
    exit 1
fi

# SRUN_ARGS is a list of words on purpose.
# shellcheck disable=SC2086
exec srun --partition="$1" --job-name="$2" --ntasks="$gpus" \
    --gres=gpu:"$gpus_per_node" --ntasks-per-node="$gpus_per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "$python" -u "$tools/test.py" "${@:3:2}" --launcher slurm \
    "${@:5}"
