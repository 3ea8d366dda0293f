#!/usr/bin/env bash
# Installs into .venv, then lints and runs the default tests. Arguments go to pytest:
#   bash scripts/test.sh -m slow
set -euo pipefail
source "$(dirname "$0")/setup_env.sh"
install "[test]"
.venv/bin/ruff check .
.venv/bin/python -m pytest "$@"
