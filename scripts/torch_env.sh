#!/usr/bin/env bash
# Makes .venv-torch with torch, torchvision and timm (several GB), which the tests marked `torch`
# compare with:
#   bash scripts/torch_env.sh && bash scripts/test.sh -m torch
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/setup_env.sh
python=$(find_python)
[ -x .venv-torch/bin/python ] || "$python" -m venv .venv-torch
.venv-torch/bin/python -m pip install --disable-pip-version-check torch torchvision timm safetensors
