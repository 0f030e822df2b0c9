#!/usr/bin/env bash
# Build the documents as a site in site/, to read from the disk or to serve.
# Any warning, such as a link that leads nowhere, is an error; the site that
# was there before stays then.
#
# usage: bash tools/docs.sh [--active | --as-is]
#   --active  install into the active environment instead of .venv
#   --as-is   use the active environment and install nothing
set -uo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# shellcheck source=tools/setup_env.sh
. "$root/tools/setup_env.sh"
mmvidadapt_help "$@"
mmvidadapt_exact docs "$@" || exit
cd "$root" || exit 1

new="$(mktemp -d "$root/.site.XXXXXX")" || exit 1
trap 'rm -rf "$new"' EXIT
if ! PYTHONWARNINGS=ignore "$MMVIDADAPT_PYTHON" -m sphinx -q -W --keep-going \
    -b html -c docs -d "$new/doctrees" . "$new/site"
then
    echo "docs: mend the warnings above; site/ is as it was before" >&2
    exit 1
fi
rm -rf site && mv "$new/site" site && echo "wrote site/index.html"
