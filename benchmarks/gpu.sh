#!/bin/sh
# The whole GPU list on a bare machine with torch 2.11 or newer, in under nine minutes:
#
#     RECURLM_DATA_DIR=… OUT=… WHEELS=… benchmarks/gpu.sh [--quick] [--device cpu]
#
# OUT     folder for the record (otherwise records/)
# WHEELS  folder of wheels for what Python lacks here, such as pydantic and platformdirs
# PYTHON  the interpreter that has torch (otherwise python3)
# The record is written after every job, so what was measured stays if time runs out.
set -eu
cd "$(dirname -- "$0")/.."
python=${PYTHON:-python3}
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
export PYTHONPATH="$PWD/src:$packages${PYTHONPATH:+:$PYTHONPATH}"

if [ -n "${WHEELS:-}" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --target "$packages" "$WHEELS"/*.whl
fi
for module in torch numpy pydantic platformdirs safetensors; do
    "$python" -c "import $module" 2>/dev/null || {
        echo "gpu.sh: $python has no $module; put its wheel, and those it needs, into a folder and set WHEELS" >&2
        exit 1
    }
done

set -- --gpu-list --device cuda "$@"
[ -z "${OUT:-}" ] || set -- "$@" --out "$OUT"
timeout 530 "$python" -m benchmarks all "$@"
