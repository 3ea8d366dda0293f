# Sourced by quickstart.sh and test.sh: goes to the checkout, makes or reuses .venv, installs.
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
    if [ -n "$candidate" ] && "$candidate" -c \
      'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: Python 3.11, 3.12 or 3.13 is needed; name one with PYTHON=/path/to/python" >&2
  return 1
}

install() { # install EXTRAS: the package, editable, unless setup.cfg is as it was installed from
  local python stamp
  stamp="$1 $(cksum <setup.cfg)"
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv
  fi
  if [ "$(cat .venv/installed 2>/dev/null)" != "$stamp" ]; then
    echo "installing into .venv (TensorFlow is large; a few minutes)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
    echo "$stamp" >.venv/installed
  fi
}
