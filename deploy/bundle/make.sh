#!/usr/bin/env bash
# An air-gapped bundle: pinned libraries as wheels with their hashes, Fedward's wheel, docs, deploy/, site_templates/.
#   deploy/bundle/make.sh [KIT]      run by `make bundle`; KIT: a hospital's kit to go with it, which makes it secret
# Leaves build/bundle/fedward-<version>-<package hash>.tar.gz, its .sha256, and build/bundle/tree. It needs pip's index
# the first time; what it makes needs no network. FEDWARD_WHEELHOUSE: a folder of wheels to take as they are.
set -euo pipefail
cd "$(dirname "$0")/../.."
kit=${1:-}
python=${FEDWARD_PYTHON:-.venv/bin/python}
out=${FEDWARD_BUNDLE:-build/bundle}
tree=$out/tree
pip() { "$python" -m pip --disable-pip-version-check "$@"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
rm -rf "$tree"
mkdir -p "$tree/wheelhouse"

wheels=${FEDWARD_WHEELHOUSE:-}
if [ -z "$wheels" ]; then
    wheels=$out/wheelhouse
    stamp=$(cat pyproject.toml constraints.txt | sha256sum)
    if [ "$(cat "$wheels/.for" 2>/dev/null)" != "$stamp" ]; then
        rm -rf "$wheels"
        "$python" -c 'import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"].get("kubernetes", [])))' >"$work/wanted"
        pip wheel --quiet -c constraints.txt -r "$work/wanted" --wheel-dir "$wheels"
        echo "$stamp" >"$wheels/.for"
    fi
fi
find "$wheels" -name '*.whl' -exec cp -t "$tree/wheelhouse" {} +

# Fedward's wheel from a clean copy: no file of an earlier build goes in
mkdir "$work/source"
cp -r pyproject.toml README.md custom "$work/source"
pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir "$tree/wheelhouse" "$work/source"
wheel=$(echo "$tree"/wheelhouse/fedward-*.whl)
"$python" -m zipfile -e "$wheel" "$work/package"
hash=$("$python" -c 'import sys
from pathlib import Path
from fedward.provisioning.stamp import package_hash
print(package_hash(Path(sys.argv[1])))' "$work/package/fedward")
version=$(basename "$wheel" | cut -d- -f2)

"$python" - "$tree/wheelhouse" >"$tree/requirements.txt" <<'PY'
import hashlib
import sys
from pathlib import Path

for wheel in sorted(Path(sys.argv[1]).glob("*.whl")):
    name, version = wheel.name.split("-")[:2]
    print(f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}")
PY
printf 'version=%s\npackage=%s\n' "$version" "$hash" >"$tree/VERSION"
cp -r README.md SECURITY.md constraints.txt docs deploy site_templates "$tree"
cp deploy/bundle/install.sh "$tree/install.sh"
[ -z "$kit" ] || { [ -d "$kit/startup" ] || { echo "fedward: $kit is not a kit" >&2; exit 1; }; cp -r "$kit" "$tree/kit"; }
find "$tree" -name __pycache__ -prune -exec rm -rf {} +
(cd "$tree" && find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >SHA256SUMS)

name=fedward-$version-${hash:0:12}
rm -f "$out"/fedward-*.tar.gz "$out"/fedward-*.tar.gz.sha256
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$out" --transform "s,^tree,$name," -cf - tree |
    gzip -1n >"$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
[ -z "$kit" ] || chmod 600 "$out/$name.tar.gz"
echo "bundle   $out/$name.tar.gz"
echo "package  $hash"
echo "sums     $(sha256sum <"$tree/SHA256SUMS" | cut -d' ' -f1)"
