#!/usr/bin/env bash
# Make the virtual environment and install the pinned libraries. Run by `make setup`; safe to run again.
# Refuses a torch that would bring CUDA packages, unless FEDWARD_CUDA=1 asks for it.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:?usage: deploy/install.sh VENV}
python=${PYTHON:-python3.11}

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "fedward: $python is not Python 3.11; give it as PYTHON=/path/to/python3.11" >&2
    exit 1
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

if [ "${FEDWARD_CUDA:-0}" != 1 ] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    echo "choosing torch ..."
    mkdir -p build
    pip install --quiet --dry-run --ignore-installed --report build/torch.json -c constraints.txt torch
    if grep -qiE '"name": *"(nvidia-|cuda-)' build/torch.json; then
        echo "fedward: this package index offers only a CUDA build of torch; point pip at one with the CPU build" \
            "(PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS), or set FEDWARD_CUDA=1 to take it" >&2
        exit 1
    fi
fi
echo "installing libraries (about two minutes the first time) ..."
# the build backend is pinned too, so that the wheel is built without asking an index
pip install --quiet -c constraints.txt setuptools wheel
"$venv/bin/python" - >build/requirements.txt <<'PY'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["dev"]))
PY
pip install --quiet -c constraints.txt -r build/requirements.txt
