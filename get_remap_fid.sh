#!/usr/bin/env bash
# The remap job under the name that users of the original know: raw log in, filtered and remapped TFRecords out.
#   ./get_remap_fid.sh RAW OUT [the options of python -m preprocess]
set -euo pipefail

usage() {
    cat <<TEXT
usage: get_remap_fid.sh RAW OUT [options]

Counts the feature ids of the raw log in RAW, keeps those in 20 or more impressions (--min_count=20), gives them
new ids from frequent to rare and writes TFRecords, the vocabulary and a report to OUT.
Options are those of the preprocess job: python -m preprocess --help
TEXT
}

case "${1:-}" in -h | --help) usage && exit 0 ;; esac
if [ $# -lt 2 ]; then
    usage >&2
    exit 2
fi

here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
# In the repository the interpreter of its .venv; installed, the one that the script was installed beside.
python=python3
for found in "$here/python" "$here/.venv/bin/python"; do
    [ -x "$found" ] && python=$found
done
[ -d "$here/preprocess" ] && export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
raw=$1 out=$2
shift 2
exec "$python" -m preprocess --input_dir="$raw" --output_dir="$out" "$@"
