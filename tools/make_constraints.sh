#!/usr/bin/env bash
# Writes constraints/*.txt anew: the newest versions that setup.py allows, with TensorFlow at the version that is named
# here for each Python, and the points of make test-matrix. Needs uv; no Python but the one that runs uv.
#   tools/make_constraints.sh [EXTRAS]
set -euo pipefail

cd "$(dirname "$0")/.."
extras=${1:-$(sed -n 's/^EXTRAS := //p' Makefile)}

compile() { # NAME PYTHON TENSORFLOW
    echo "tensorflow==$3" | uv pip compile --quiet --no-header --no-annotate --no-emit-package setuptools \
        --python-version "$2" --constraint - $(printf -- '--extra %s ' ${extras//,/ }) \
        setup.py --output-file "constraints/$1.txt"
}

# The default of each Python.
for minor in 10 11 12 13; do compile "py3$minor" "3.$minor" 2.21.0; done
# Other points that the tests must pass on.
compile py310-tf215 3.10 2.15.1
compile py311-tf215 3.11 2.15.1
compile py312-tf219 3.12 2.19.1
