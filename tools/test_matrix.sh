#!/usr/bin/env bash
# Runs the tests on several pairs of Python and TensorFlow, each in an environment of its own below FOLDER.
#   tools/test_matrix.sh FOLDER EXTRAS [POINT ...]
# A point is the name of a list of versions in constraints/. Its Python is taken from the machine, else uv fetches it;
# where neither can be, the point is named as missing. Each point also reads the checkpoints and exports of the point
# before it, and the other way round (OTHER_PYTHON). The status is that of the tests that ran.
set -euo pipefail

folder=$1 extras=$2
shift 2
cd "$(dirname "$0")/.."
points=${*:-py310-tf215 py312-tf219 py313}

python_of() { # 3.12
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python "/usr/local/bin/python$1" "/usr/bin/python$1"; do
        if "$candidate" -c "import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != tuple(map(int, '$1'.split('.'))))" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    command -v uv >/dev/null && uv python install --quiet "$1" >&2 && uv python find "$1"
}

# What make test and make test-commands run together.
tests="not stores and not engines and not chains and not topologies and not days and not optimizers"

failed=0 table="" other=""
for point in $points; do
    minor=${point#py3} && minor=3.${minor%%-*}
    constraints=constraints/$point.txt
    tensorflow=$(sed -n 's/^tensorflow==//p' "$constraints")
    if ! python=$(python_of "$minor"); then
        table+="$point: Python $minor is missing, and could not be fetched"$'\n'
        continue
    fi
    venv=$folder/$point
    if [ ! -e "$venv/.ready" ] || [ setup.py -nt "$venv/.ready" ] || [ "$constraints" -nt "$venv/.ready" ]; then
        PYTHON=$python CONSTRAINTS=$constraints tools/setup_venv.sh "$venv" "$extras" "$venv/.ready"
    fi
    echo "== $point: Python $minor, TensorFlow $tensorflow"
    if OTHER_PYTHON=$other "$venv/bin/python" -m pytest -m "$tests" tests; then
        table+="$point: Python $minor, TensorFlow $tensorflow: passed"$'\n'
    else
        failed=1
        table+="$point: Python $minor, TensorFlow $tensorflow: FAILED"$'\n'
    fi
    other=$(cd "$venv/bin" && pwd)/python
done
printf '\n%s' "$table"
exit $failed
