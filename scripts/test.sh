#!/usr/bin/env bash
# Installs into .venv, then lints and runs the default tests. Arguments go to pytest:
#   bash scripts/test.sh -m slow
set -euo pipefail
source "$(dirname "$0")/setup_env.sh"
install "[test]"
.venv/bin/ruff check .
# Two at a time, each file in one process: most tests keep one core busy. In their order, as the file
# with the longest tests has but two of them and would come last, alone.
.venv/bin/python -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder "$@"
