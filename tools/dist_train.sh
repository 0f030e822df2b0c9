#!/usr/bin/env bash
# Train with one process per GPU (or, without any GPU, per CPU share).
set -euo pipefail

usage() {
    cat << 'EOF'
usage: tools/dist_train.sh CONFIG GPUS [OPTIONS OF tools/train.py]

  GPUS is the number of processes on this machine. Without a GPU the same
  command trains on the CPU. For several machines, on each of them:
    NNODES       number of machines (default 1)
    NODE_RANK    this one, from 0 (default 0)
    MASTER_ADDR  address of machine 0
    PORT         a free port there (default: found, or 29500 with NNODES)
  PYTHON names the interpreter.

example: tools/dist_train.sh configs/inti/vitb_k400.py 8 --auto-scale-lr
EOF
}
case "${1:-}" in -h | --help) usage; exit 0 ;; esac
if [ "$#" -lt 2 ]; then
    usage >&2
    exit 2
fi

. "$(dirname "${BASH_SOURCE[0]}")/find_python.sh"
check_file CONFIG "$1"
check_positive GPUS "$2"
launch "$2" "$tools/train.py" "$1" --launcher pytorch "${@:3}"
