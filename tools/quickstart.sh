#!/usr/bin/env bash
# Prepare the environment, check the machine, then run tools/quickstart.py.
#
# usage: bash tools/quickstart.sh [--active | --as-is] [OPTIONS]
#   --active  install into the active environment instead of .venv
#   --as-is   use the active environment and install nothing
#   --method NAME  what is trained: inti (default), tds_clip,
#             mote, msta or mixed
#   --ci      a shorter training with lower targets
#   --fresh   repeat all stages, also those that are done
#   --seed N  seed of data, weights and order
#   --work-dir FOLDER  where everything goes (default .quickstart)
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=tools/setup_env.sh
. "$root/tools/setup_env.sh"
mmvidadapt_help "$@"
mmvidadapt_setup "$@"

fail() {
    echo "quickstart: $*" >&2
    exit 1
}

# The builds of OpenCV with windows need libraries of a desktop; the headless
# build, which setup_env.sh installs, does not.
if ! error="$("$MMVIDADAPT_PYTHON" -c 'import cv2' 2>&1)"; then
    fail "OpenCV does not load (${error##*$'\n'}): install the libraries it" \
        "wants (Debian/Ubuntu: apt-get install libgl1 libglib2.0-0 libxcb1)," \
        "or change to the build without windows (pip uninstall -y" \
        "opencv-python opencv-contrib-python, then pip install" \
        "$(grep '^opencv-' "$root/requirements/pinned.txt"))."
fi
if ! error="$("$MMVIDADAPT_PYTHON" -c 'import av' 2>&1)"; then
    fail "the video decoder does not load (${error##*$'\n'}): run" \
        "'$MMVIDADAPT_PYTHON -m pip install --force-reinstall --no-deps" \
        "$(grep '^av=' "$root/requirements/pinned.txt")'."
fi

export MPLBACKEND="${MPLBACKEND:-Agg}"
exec "$MMVIDADAPT_PYTHON" "$root/tools/quickstart.py" "${MMVIDADAPT_ARGS[@]}"
