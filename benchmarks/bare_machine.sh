# Read by the scripts beside it: `python` and PYTHONPATH for a machine that has torch and little else.
#
# WHEELS  folder of wheels for what Python lacks here, such as pydantic and platformdirs
# PYTHON  the interpreter that has torch (otherwise python3)
python=${PYTHON:-python3}
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
export PYTHONPATH="$PWD/src:$packages${PYTHONPATH:+:$PYTHONPATH}"

if [ -n "${WHEELS:-}" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --target "$packages" "$WHEELS"/*.whl
fi
for module in torch numpy pydantic platformdirs safetensors; do
    "$python" -c "import $module" 2>/dev/null || {
        echo "$(basename "$0"): $python has no $module; put its wheel, and those it needs, into a folder and set WHEELS" >&2
        exit 1
    }
done
