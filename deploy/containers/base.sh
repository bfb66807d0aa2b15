#!/usr/bin/env bash
# A base image without a registry: Debian bookworm's own Python 3.11 by debootstrap, as root, kept in build/containers/.
# Prints the image's id, for `deploy/containers/build.sh`. Where a registry can be reached, a digest of its image does.
set -euo pipefail
cd "$(dirname "$0")/../.."
archive=build/containers/base.tar
name=localhost/fedward-base:bookworm
if [ ! -s "$archive" ]; then
    mkdir -p build/containers
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # the mirror that this machine's apt already uses
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Component: main' | head -1)
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv \
        bookworm "$work/root" ${mirror:+"$mirror"} >"$work/log" 2>&1 || { tail -5 "$work/log" >&2; exit 1; }
    rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/{doc,man,locale}/* \
        "$work"/root/etc/apt/sources.list
    tar --numeric-owner --sort=name --mtime=@0 -C "$work/root" -cf "$archive.part" .
    mv "$archive.part" "$archive"
fi
podman image exists "$name" || podman import --quiet "$archive" "$name" >/dev/null
podman image inspect --format '{{.Id}}' "$name"
