#!/usr/bin/env bash
# Makes VENV with the pinned dependencies and this project (editable).
#   tools/setup_venv.sh VENV EXTRAS [STAMP]
# Python 3.10 or 3.11 is needed: TensorFlow 2.15, the last release with Estimator, has wheels for no newer one.
# It is looked for in $PYTHON, on PATH and in pyenv; where there is none, uv fetches one.
set -euo pipefail

venv=$1 extras=$2 stamp=${3:-}
cd "$(dirname "$0")/.."

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 12))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.10 python3 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.11.*/bin/python "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.10.*/bin/python \
        /usr/local/bin/python3.11 /usr/local/bin/python3.10 /usr/bin/python3.11 /usr/bin/python3.10; do
        if [ -n "$candidate" ] && fits "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fetch_python
}

fetch_python() {
    echo "No Python 3.10 or 3.11 with venv found; fetching one with uv" >&2
    command -v uv >/dev/null || {
        python3 -m venv "$venv.uv" && "$venv.uv/bin/pip" install --quiet uv && PATH="$PWD/$venv.uv/bin:$PATH"
    } >&2
    uv python install --quiet 3.11 >&2 && uv python find 3.11
}

if ! python=$(find_python); then
    echo "Python 3.10 or 3.11 is needed (TensorFlow 2.15 has no newer wheels) and none could be found or fetched." >&2
    echo "Install one (Debian: apt-get install python3.11-venv; any system: pyenv install 3.11), or name it: make setup PYTHON=/path/to/python3.11" >&2
    exit 1
fi

echo "Setting up $venv with $("$python" --version)" >&2
"$python" -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$extras]"
[ -z "$stamp" ] || touch "$stamp"
