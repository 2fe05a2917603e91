#!/usr/bin/env bash
# Makes VENV with the pinned dependencies and this project (editable).
#   tools/setup_venv.sh VENV EXTRAS [STAMP]
# Takes $PYTHON where it is given, else the newest of Python 3.13 to 3.10 on PATH and in pyenv; where there is none, uv
# fetches one. $CONSTRAINTS names another list of versions than constraints/pyXYZ.txt, as make test-matrix does.
set -euo pipefail

venv=$1 extras=$2 stamp=${3:-}
cd "$(dirname "$0")/.."
minors="13 12 11 10"

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }

candidates() {
    local minor
    for minor in $minors; do
        printf '%s\n' "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor".*/bin/python \
            "/usr/local/bin/python3.$minor" "/usr/bin/python3.$minor"
    done
    printf '%s\n' python3 python
}

find_python() {
    local candidate
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || return 1
        "$PYTHON" -c 'import sys; print(sys.executable)'
        return
    fi
    while read -r candidate; do
        if fits "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done < <(candidates)
    fetch_python
}

fetch_python() {
    echo "No Python 3.10 to 3.13 with venv found; fetching one with uv" >&2
    command -v uv >/dev/null || {
        python3 -m venv "$venv.uv" && "$venv.uv/bin/pip" install --quiet uv && PATH="$PWD/$venv.uv/bin:$PATH"
    } >&2
    uv python install --quiet 3.12 >&2 && uv python find 3.12
}

if ! python=$(find_python); then
    echo "Python 3.10, 3.11, 3.12 or 3.13 with its venv module is needed${PYTHON:+ ($PYTHON is none)} and none could be found or fetched." >&2
    echo "Install one (Debian: apt-get install python3-venv; any system: pyenv install 3.12), or name it: make setup PYTHON=/path/to/python3.12" >&2
    exit 1
fi

version=$("$python" -c 'import sys; print("py%d%d" % sys.version_info[:2])')
constraints=${CONSTRAINTS:-constraints/$version.txt}
echo "Setting up $venv with $("$python" --version) and the versions of $constraints" >&2
"$python" -m venv --clear "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --constraint "$constraints" --editable ".[$extras]"
[ -z "$stamp" ] || touch "$stamp"
