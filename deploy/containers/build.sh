#!/usr/bin/env bash
# Build the image from a bundle, without a network. Prints its name.
#   deploy/containers/build.sh BASE [BUNDLE]
# BASE: an image by digest (…@sha256:…) or by id. BUNDLE: an unpacked bundle; default: build/bundle/tree, of `make bundle`.
set -euo pipefail
base=${1:?usage: deploy/containers/build.sh BASE [BUNDLE]}
here=$(cd "$(dirname "$0")" && pwd)
bundle=${2:-$here/../../build/bundle/tree}
case $base in
*@sha256:* | sha256:*) ;;
*) [[ $base =~ ^[0-9a-f]{64}$ ]] || { echo "fedward: $base may change under its name; give it by digest" >&2; exit 1; } ;;
esac
version=$(sed -n 's/^version=//p' "$bundle/VERSION")
name=${FEDWARD_IMAGE:-localhost/fedward:$version}
tool=$(command -v podman || command -v docker) || { echo "fedward: neither podman nor docker is here" >&2; exit 1; }
case $tool in *podman) format=(--format docker --pull-never) ;; *) format=() ;; esac  # docker's format keeps the check
"$tool" build --quiet --network none "${format[@]}" --build-arg "BASE=$base" --tag "$name" \
    --file "$here/Containerfile" "$bundle" >/dev/null
echo "$name"
