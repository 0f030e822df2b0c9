#!/usr/bin/env bash
# Run every linter, directly (no hooks to download), and fail if any does.
#
# usage: bash tools/lint.sh [--active | --as-is]
#   --active  install into the active environment instead of .venv
#   --as-is   use the active environment and install nothing
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=tools/setup_env.sh
. "$root/tools/setup_env.sh"
mmvidadapt_help "$@"
mmvidadapt_exact lint "$@" || exit
cd "$root" || exit 1

failed=()
lint() {
    local name="$1"
    shift
    echo "== $name"
    "$MMVIDADAPT_PYTHON" -m "$@" || failed+=("$name")
}
lint ruff ruff check .
lint codespell codespell_lib .
lint mypy mypy
lint pydoclint pydoclint.main --quiet mmvidadapt
for script in tools/*.sh .ci/run .ci/full; do
    bash -n "$script" || failed+=("bash -n $script")
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "lint: failed: ${failed[*]}" >&2
    exit 1
fi
echo "lint: all clean"
