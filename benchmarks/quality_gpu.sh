#!/bin/sh
# Penn Treebank by the recipe `best` on a bare machine with torch 2.11 or newer, in calls of at most nine minutes:
#
#     RECURLM_DATA_DIR=… OUT=… WHEELS=… benchmarks/quality_gpu.sh [--seconds 1500] [--recipe NAME] [--seeds 1,2]
#
# OUT     folder for the record (otherwise records/)
# WHEELS, PYTHON: see bare_machine.sh
# Exit code 75: call again with the same arguments. What is needed for that lies in runs/quality-NAME, or in --runs
# FOLDER, and goes to another machine with it. 0: all is measured. Rehearse it with --device cpu --tiny --seconds 20.
set -eu
cd "$(dirname -- "$0")/.."
. benchmarks/bare_machine.sh

set -- --device cuda --call-seconds 540 "$@"
[ -z "${OUT:-}" ] || set -- "$@" --out "$OUT"
"$python" -m benchmarks quality "$@"
