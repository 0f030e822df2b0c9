#!/usr/bin/env bash
# Test a checkpoint with one process per GPU (or, without any, per CPU share).
set -euo pipefail

usage() {
    cat << 'EOF'
usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [OPTIONS OF tools/test.py]

  GPUS is the number of processes on this machine. Without a GPU the same
  command tests on the CPU. For several machines, on each of them:
    NNODES       number of machines (default 1)
    NODE_RANK    this one, from 0 (default 0)
    MASTER_ADDR  address of machine 0
    PORT         a free port there (default: found, or 29500 with NNODES)
  PYTHON names the interpreter.

example: tools/dist_test.sh configs/inti/vitb_k400.py work_dirs/vitb_k400/epoch_30.pth 8
EOF
}
case "${1:-}" in -h | --help) usage; exit 0 ;; esac
if [ "$#" -lt 3 ]; then
    usage >&2
    exit 2
fi

. "$(dirname "${BASH_SOURCE[0]}")/find_python.sh"
check_file CONFIG "$1"
check_positive GPUS "$3"
launch "$3" "$tools/test.py" "$1" "$2" --launcher pytorch "${@:4}"
