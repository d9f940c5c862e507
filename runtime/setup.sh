#!/usr/bin/env bash
# Make .venv and install requirement files into it; what is already there is left as it is.
#
#   ./runtime/setup.sh requirements.txt tests/requirements.txt
#
# PYTHON names the interpreter, 3.10 or newer (default: python3).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
if ! .venv/bin/python -c '' 2>/dev/null; then
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        echo "setup.sh: Python 3.10 or newer is needed, but $python is" \
            "$("$python" --version 2>&1 || true); name another one: PYTHON=python3.12 $0 ..." >&2
        exit 1
    fi
    echo "making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

# Beside the packages lies a copy of each file they came from: a changed file is installed again.
mkdir -p .venv/installed
for file in "$@"; do
    copy=.venv/installed/${file//\//_}
    if ! cmp -s "$file" "$copy"; then
        echo "installing $file into .venv"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$file"
        cp "$file" "$copy"
    fi
done
