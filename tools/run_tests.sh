#!/usr/bin/env bash
# Prepare the environment, then run the test suite.
#
# usage: bash tools/run_tests.sh [--active | --as-is] [PYTEST OPTIONS]
#   bash tools/run_tests.sh                          everything but `slow`
#   bash tools/run_tests.sh -m slow                  the long tests only
#   bash tools/run_tests.sh tests/test_packaging.py  one file
#   bash tools/run_tests.sh -n 0 --pdb               in one process
#   --active  install into the active environment instead of .venv
#   --as-is   use the active environment and install nothing
# Paths are relative to the repository, wherever the command is given.
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=tools/setup_env.sh
. "$root/tools/setup_env.sh"
mmvidadapt_help "$@"
mmvidadapt_setup "$@"

# Tiny tensors gain nothing from many threads, and processes that each start
# one thread per core get in each other's way.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
export MKL_NUM_THREADS="${MKL_NUM_THREADS:-$OMP_NUM_THREADS}"
export PYTHONDONTWRITEBYTECODE=1 MPLBACKEND=Agg
cd "$root"
# Two processes by default; a later -n of the user's wins (-n 0: in one).
exec "$MMVIDADAPT_PYTHON" -m pytest -n 2 --dist loadfile \
    "${MMVIDADAPT_ARGS[@]}"
