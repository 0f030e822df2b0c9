#!/usr/bin/env bash
# Prepare the Python environment of the two README commands.
#
# Sourced by tools/run_tests.sh, quickstart.sh, lint.sh and docs.sh;
# tools/setup_env.sh run by itself only prepares. Sets and exports
# MMVIDADAPT_PYTHON, the interpreter to use.
#
#   MMVIDADAPT_ENV=venv    (default) use .venv in the repository, created and
#                          filled with requirements/pinned.txt when needed
#   MMVIDADAPT_ENV=active  install into the environment that `python` belongs
#                          to; torch, torchvision and OpenCV are kept if there
#   MMVIDADAPT_ENV=as-is   use that environment and install nothing
#   PYTHON=python3.12      the interpreter to create .venv with, or to use
#
# The options --active and --as-is say the same as the variable.

_mva_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
_mva_pinned="$_mva_root/requirements/pinned.txt"

_mva_fail() {
    echo "setup_env: $*" >&2
    return 1
}

# Python's own answer to "is it new enough", with one sentence if not.
_mva_check_version() {
    local python="$1" minor="$2"
    if ! command -v "$python" > /dev/null 2>&1; then
        _mva_fail "'$python' was not found: install Python 3.$minor or newer" \
            "(Debian/Ubuntu: apt-get install python3 python3-venv), or name" \
            "yours with PYTHON=/path/to/python3."
        return 1
    fi
    if ! "$python" -c "import sys; sys.exit(sys.version_info < (3, $minor))"
    then
        _mva_fail "'$python' is $("$python" --version 2>&1), but Python" \
            "3.$minor or newer is needed: name a newer one with" \
            "PYTHON=/path/to/python3."
        return 1
    fi
}

_mva_pip() {
    local quiet=()
    [ -t 1 ] || quiet=(--quiet)
    "$MMVIDADAPT_PYTHON" -m pip --disable-pip-version-check \
        --no-input "$@" "${quiet[@]}"
}

# Hash of everything that decides what is in .venv.
_mva_key() {
    (cd "$_mva_root" && "$MMVIDADAPT_PYTHON" - "$_mva_root" "$@" << 'EOF'
import hashlib
import sys

digest = hashlib.sha256(f'{sys.version}|{sys.argv[1]}'.encode())
for name in sys.argv[2:]:
    with open(name, 'rb') as file:
        digest.update(name.encode() + file.read())
print(digest.hexdigest()[:16])
EOF
    )
}

# True if the interpreter finds the module; nothing is imported.
_mva_has() {
    "$MMVIDADAPT_PYTHON" -c "import importlib.util as u, sys
sys.exit(u.find_spec('$1') is None)"
}

# usage: _mva_install KEEP_REGEX, lines of pinned.txt that match are left out
_mva_install() {
    local keep="$1" start="$SECONDS" torch lines
    torch="$(grep '^torch==' "$_mva_pinned")"
    if [[ "torch==" =~ $keep ]]; then
        echo "[1/3] torch: the one in the environment is kept"
    else
        echo "[1/3] installing $torch (the large one: 200 MB for the CPU" \
            "build, a few GB with CUDA)"
        _mva_pip install "$torch" -c "$_mva_pinned" \
            || { _mva_fail "pip could not install $torch: read its message" \
                "above, then run the same command again."; return 1; }
    fi
    echo "[2/3] installing the other pinned packages"
    lines="$(mktemp)"
    grep -v -E "^(#|torch==|\$)|$keep" "$_mva_pinned" > "$lines"
    _mva_pip install --no-deps -r "$lines" \
        || { rm -f "$lines"; _mva_fail "pip could not install" \
            "requirements/pinned.txt: read its message above, then run the" \
            "same command again."; return 1; }
    rm -f "$lines"
    echo "[3/3] installing mmvidadapt itself, editable"
    _mva_pip install --no-deps --no-build-isolation -e "$_mva_root" \
        || { _mva_fail "pip could not install this repository: read its" \
            "message above."; return 1; }
    echo "environment ready after $((SECONDS - start)) s"
}

_mva_setup_venv() {
    local python="${PYTHON:-python3}" venv="$_mva_root/.venv" stamp key
    MMVIDADAPT_PYTHON="$venv/bin/python"
    if ! "$MMVIDADAPT_PYTHON" -m pip --version > /dev/null 2>&1; then
        _mva_check_version "$python" 11 || return 1
        if ! "$python" -c 'import ensurepip, venv' > /dev/null 2>&1; then
            _mva_fail "'$python' cannot create virtual environments: install" \
                "the missing part (Debian/Ubuntu: apt-get install" \
                "python3-venv), or activate an environment of yours and set" \
                "MMVIDADAPT_ENV=active."
            return 1
        fi
        echo "creating $venv"
        "$python" -m venv --clear "$venv" \
            || { _mva_fail "could not create $venv: is the folder writable" \
                "and the disk not full?"; return 1; }
    fi
    key="$(_mva_key requirements/pinned.txt setup.py pyproject.toml \
        mmvidadapt/version.py tools/setup_env.sh)" || return 1
    stamp="$venv/.mmvidadapt-$key"
    [ -e "$stamp" ] && return 0
    rm -f "$venv"/.mmvidadapt-*
    _mva_install '^$' || return 1
    touch "$stamp"
}

_mva_setup_active() {
    local keep='^$'
    if ! _mva_has pip; then
        _mva_fail "'$MMVIDADAPT_PYTHON' has no pip: run" \
            "'$MMVIDADAPT_PYTHON -m ensurepip', or use MMVIDADAPT_ENV=venv."
        return 1
    fi
    if _mva_has torch; then
        if ! _mva_has torchvision; then
            _mva_fail "the environment has torch but no torchvision: install" \
                "the release that belongs to your torch" \
                "('pip install torchvision') and run the same command again."
            return 1
        fi
        keep="$keep|^torch(vision)?=="
    fi
    _mva_has cv2 && keep="$keep|^opencv-"
    _mva_install "$keep"
}

_mva_setup() {
    local option
    for option in "$@"; do
        case "$option" in
            --active) MMVIDADAPT_ENV=active ;;
            --as-is) MMVIDADAPT_ENV=as-is ;;
            *) _mva_fail "unknown option '$option': use --active or --as-is."
               return 1 ;;
        esac
    done
    case "${MMVIDADAPT_ENV:-venv}" in
        venv)
            _mva_setup_venv || return 1 ;;
        active | as-is)
            MMVIDADAPT_PYTHON="${PYTHON:-python}"
            command -v "$MMVIDADAPT_PYTHON" > /dev/null 2>&1 \
                || [ -n "${PYTHON:-}" ] || MMVIDADAPT_PYTHON=python3
            _mva_check_version "$MMVIDADAPT_PYTHON" 11 || return 1
            MMVIDADAPT_PYTHON="$(command -v "$MMVIDADAPT_PYTHON")"
            [ "$MMVIDADAPT_ENV" = as-is ] || _mva_setup_active || return 1
            # An uninstalled checkout must be importable too.
            export PYTHONPATH="$_mva_root${PYTHONPATH:+:$PYTHONPATH}" ;;
        *)
            _mva_fail "MMVIDADAPT_ENV is '$MMVIDADAPT_ENV': use venv," \
                "active or as-is."
            return 1 ;;
    esac
    # Scripts started from here find `python` and the installed commands too.
    PATH="$(dirname "$MMVIDADAPT_PYTHON"):$PATH"
    export MMVIDADAPT_PYTHON PATH
}

# Answer --help, wherever it stands, with the comment at the top of the
# script; nothing is installed or started. Call it before mmvidadapt_setup.
mmvidadapt_help() {
    local option
    for option in "$@"; do
        case "$option" in -h | --help)
            sed -n '2,/^[^#]/ { s/^# \{0,1\}//p }' "$0"
            exit 0 ;;
        esac
    done
}

# Take our own options off the front of a script's arguments; the rest is
# left in MMVIDADAPT_ARGS.
mmvidadapt_setup() {
    local own=()
    while [ "${1:-}" = --active ] || [ "${1:-}" = --as-is ]; do
        own+=("$1")
        shift
    done
    MMVIDADAPT_ARGS=("$@")
    _mva_setup "${own[@]}"
}

# Set up a tool for this repository itself, tools/$1.sh, which takes our own
# options only, and install the exact versions of requirements/$1.txt where
# others are there: linters and the site builder, whose releases must not turn a
# green tree red. The rest are the arguments of the tool.
mmvidadapt_exact() {
    mmvidadapt_setup "${@:2}" || return 1
    if [ "${#MMVIDADAPT_ARGS[@]}" -gt 0 ]; then
        echo "usage: bash tools/$1.sh [--active | --as-is]" >&2
        return 2
    fi
    local file="$_mva_root/requirements/$1.txt"
    "$MMVIDADAPT_PYTHON" - "$file" << 'EOF' && return 0
import sys
from importlib.metadata import PackageNotFoundError, version

for line in open(sys.argv[1]):
    name, _, wanted = line.split('#')[0].strip().partition('==')
    try:
        if name and version(name) != wanted:
            sys.exit(1)
    except PackageNotFoundError:
        sys.exit(1)
EOF
    if [ "${MMVIDADAPT_ENV:-venv}" = as-is ]; then
        echo "$1: the environment lacks the versions in" \
            "requirements/$1.txt: install them (pip install -r" \
            "requirements/$1.txt), or leave out --as-is." >&2
        return 1
    fi
    echo "installing requirements/$1.txt"
    _mva_pip install -r "$file" -c "$_mva_pinned"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    mmvidadapt_help "$@"
    _mva_setup "$@"
fi
