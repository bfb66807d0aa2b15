#!/usr/bin/env bash
# Install Fedward from this bundle, without a network.
#   ./install.sh VENV [SUMS]
# VENV: folder for the virtual environment, such as /opt/fedward/venv. SUMS: the sum that the operator read to you.
# Nothing is installed unless every file of the bundle is the one that was packed, and no other is there.
set -euo pipefail
venv=${1:?usage: ./install.sh VENV [SUMS]}
expected=${2:-}
python=${PYTHON:-python3.11}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
cd "$(dirname "$0")"
refuse() {
    echo "fedward: $1" >&2
    exit 1
}

[ -f SHA256SUMS ] || refuse "SHA256SUMS is missing; get the bundle again"
sums=$(sha256sum <SHA256SUMS | cut -d' ' -f1)
[ -z "$expected" ] || [ "$expected" = "$sums" ] || refuse "sums are $sums, not what the operator read to you; get the bundle again"
sha256sum --check --quiet --strict SHA256SUMS >&2 || refuse "a file is not the one that was packed; get the bundle again"
others=$(comm -13 <(cut -c67- SHA256SUMS | LC_ALL=C sort) <(find . ! -type d ! -path ./SHA256SUMS | LC_ALL=C sort) | head -3)
[ -z "$others" ] || refuse "files that were not packed: $(echo $others); get the bundle again"

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
    refuse "$python is not Python 3.11; give it as PYTHON=/path/to/python3.11"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# no index, no configuration that could name one, and no file whose hash is not written down
pip() { PIP_CONFIG_FILE=/dev/null "$venv/bin/python" -m pip --isolated --disable-pip-version-check "$@"; }
pip install --quiet --no-index --no-cache-dir --no-deps --force-reinstall --only-binary :all: --find-links wheelhouse \
    --require-hashes -r requirements.txt
fit=$(pip check) || refuse "libraries do not fit together: $(head -1 <<<"$fit"); get the bundle again"

package=$("$venv/bin/python" -c 'from fedward.provisioning.stamp import package_hash; print(package_hash())')
[ "$package" = "$(sed -n 's/^package=//p' VERSION)" ] || refuse "what was installed is not what was packed: $package"
echo "$("$venv/bin/fedward" --version) in $venv"
echo "package  $package"
echo "sums     $sums"
echo "Compare both with the operator's before you start a kit."
