# Sourced by the launch scripts. Sets `python` to the interpreter to use:
# $PYTHON, else that of the active virtual environment, else the .venv that
# the README commands made, else conda's, else python3. A virtual environment
# was activated on purpose; conda's base often is by every new shell. Puts the
# checkout on PYTHONPATH.
# shellcheck shell=bash

tools="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$tools")"
if [ -n "${PYTHON:-}" ]; then
    python="$PYTHON"
elif [ -n "${VIRTUAL_ENV:-}" ]; then
    python="$VIRTUAL_ENV/bin/python"
elif [ -x "$root/.venv/bin/python" ]; then
    python="$root/.venv/bin/python"
elif [ -n "${CONDA_PREFIX:-}" ]; then
    python="$CONDA_PREFIX/bin/python"
else
    python=python3
fi
if ! command -v "$python" > /dev/null 2>&1; then
    echo "$(basename "$0"): '$python' was not found: activate an environment" \
        "with mmvidadapt, or name its interpreter with PYTHON=..." >&2
    exit 1
fi
if [ -d "$root/mmvidadapt" ]; then
    export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
fi

# Refuse here, once, what every process would otherwise refuse by itself.
check_positive() {
    case "$2" in
        '' | *[!0-9]* | 0)
            echo "$(basename "$0"): $1 is '$2': give a number of processes," \
                "1 or more." >&2
            exit 2 ;;
    esac
}

check_file() {
    if [ ! -f "$2" ]; then
        echo "$(basename "$0"): $1 '$2' is not a file: give its path," \
            "absolute or from $PWD." >&2
        exit 2
    fi
}

# torchrun for one machine (a free port is found) or, with NNODES, several.
launch() {
    local gpus="$1"
    shift
    local nnodes="${NNODES:-1}" rendezvous
    check_positive NNODES "$nnodes"
    if [ "$nnodes" = 1 ] && [ -z "${PORT:-}" ]; then
        rendezvous=(--standalone)
    else
        rendezvous=(--node_rank="${NODE_RANK:-0}"
            --master_addr="${MASTER_ADDR:-127.0.0.1}"
            --master_port="${PORT:-29500}")
    fi
    if [ "$nnodes" != 1 ] && [ -z "${MASTER_ADDR:-}" ]; then
        echo "$(basename "$0"): NNODES is $nnodes but MASTER_ADDR is not" \
            "set: give the address of the machine with NODE_RANK=0." >&2
        exit 2
    fi
    exec "$python" -m torch.distributed.run --nnodes="$nnodes" \
        --nproc_per_node="$gpus" "${rendezvous[@]}" "$@"
}
