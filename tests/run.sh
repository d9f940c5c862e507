#!/usr/bin/env bash
# Every check of this project: style, types, tests. Flags go to pytest:
#
#   tests/run.sh -k masks
#
# With COCO_DIR set to a folder of COCO 2017, the tests that want real data run too.
set -euo pipefail
cd "$(dirname "$0")/.."
./runtime/setup.sh requirements.txt tests/requirements.txt
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/python -m pytest "$@"
