#!/bin/sh
# The whole GPU list on a bare machine with torch 2.11 or newer, in under nine minutes:
#
#     RECURLM_DATA_DIR=… OUT=… WHEELS=… benchmarks/gpu.sh [--quick] [--device cpu]
#
# OUT     folder for the record (otherwise records/)
# WHEELS, PYTHON: see bare_machine.sh
# The record is written after every job, so what was measured stays if time runs out.
set -eu
cd "$(dirname -- "$0")/.."
. benchmarks/bare_machine.sh

set -- --gpu-list --device cuda "$@"
[ -z "${OUT:-}" ] || set -- "$@" --out "$OUT"
timeout 530 "$python" -m benchmarks all "$@"
