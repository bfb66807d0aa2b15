#!/usr/bin/env bash
# Debian packages that some tests need: an archive, containers, namespaces, a browser, Prometheus, validators. As root,
# on Debian bookworm; quick where all is there. Nothing that it installs is left listening.
set -euo pipefail
[ "$(id -u)" = 0 ] || { echo "fedward: deploy/packages.sh installs packages: run it as root" >&2; exit 1; }
dclint=3.1.0 prettier=3.10.1
export DEBIAN_FRONTEND=noninteractive

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
wanted=()
for package in chromium dcmtk debootstrap faketime iproute2 iptables openssl orthanc orthanc-dicomweb podman prometheus \
    prometheus-alertmanager runc systemd util-linux; do
    installed "$package" || wanted+=("$package")
done
command -v npm >/dev/null || wanted+=(npm)
# bookworm's own kubernetes-client is of 2020 and builds none of our folders: kubectl is another archive's package
if ! command -v kubectl >/dev/null; then
    apt-get update -qq
    if apt-cache show kubectl >/dev/null 2>&1; then
        wanted+=(kubectl)
    else
        echo "fedward: no archive of apt's has kubectl; install version 1.22 or newer by hand" >&2
    fi
fi

if [ ${#wanted[@]} -gt 0 ]; then
    echo "installing ${wanted[*]} ..."
    # a package's service is not started while it is installed, nor at the next start of the machine
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${wanted[@]}" >/dev/null
fi
for service in orthanc podman podman-restart podman-auto-update prometheus prometheus-alertmanager; do
    systemctl disable --quiet "$service" 2>/dev/null || true
    [ ! -x "/etc/init.d/$service" ] || update-rc.d "$service" disable >/dev/null 2>&1 || true
done
for tool in "dclint@$dclint" "prettier@$prettier"; do
    if [ "$("${tool%@*}" --version 2>/dev/null)" != "${tool#*@}" ]; then
        echo "installing $tool ..."
        npm install --global --silent --no-fund --no-audit "$tool"
    fi
done
