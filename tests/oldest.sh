#!/usr/bin/env bash
# The whole suite on the oldest of everything that requirements.txt allows, all at once.
#
#   PYTHON=python3.10 tests/oldest.sh -k masks
#
# Makes an environment of its own, .venv-oldest.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3.10}
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))' 2>/dev/null; then
    echo "oldest.sh: Python 3.10 is the oldest, but $python is" \
        "$("$python" --version 2>&1 || true); name it: PYTHON=/path/to/python3.10 $0" >&2
    exit 1
fi
[[ -x .venv-oldest/bin/python ]] || "$python" -m venv .venv-oldest
sed -n 's/>=/==/p' requirements.txt > .venv-oldest/requirements.txt
.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check \
    -r .venv-oldest/requirements.txt 'pytest>=8' 'hypothesis>=6.100' 'pyyaml>=6'
.venv-oldest/bin/python -m pytest "$@"
