#!/usr/bin/env bash
# From nothing to a queried network: installs, trains ResNet-20 on the digits that scikit-learn
# carries, evaluates it, exports it, and asks the export for ten test images. No download of data.
set -euo pipefail
source "$(dirname "$0")/setup_env.sh"
if ! .venv/bin/python -c 'from importlib.metadata import version as v; v("keras_resnets")' 2>/dev/null; then
  install ""
fi
python=.venv/bin/python
$python scripts/train.py --flagfile=scripts/flagfiles/quickstart.flags --run_dir=runs/quickstart
$python scripts/evaluate.py --run_dir=runs/quickstart
$python scripts/export.py --run_dir=runs/quickstart --name=quickstart
$python scripts/write_images.py --dataset=digits --count=10 --output_dir=runs/quickstart/images
$python scripts/predict.py --saved_model=saved_models/quickstart runs/quickstart/images
