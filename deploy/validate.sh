#!/usr/bin/env bash
# Every file below deploy/ held to its own tool: dclint, kubernetes-validate, systemd-analyze, promtool,
# amtool, bash, shellcheck. The dashboard's JavaScript is held to prettier.
# Run by `make check` and by the tests. A tool that is not here is named and left out; with FEDWARD_NO_SKIP=1, as in
# continuous integration, that is a failure.
#   deploy/validate.sh [FOLDER]     another folder of the same form
set -uo pipefail
cd "$(dirname "$0")/.."
deploy=$(cd "${1:-deploy}" && pwd)
bin=$PWD/.venv/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
max_exposure=3.0

have() {
    command -v "$1" >/dev/null || [ -x "$bin/$1" ] && return 0
    echo "not installed: $2 (Debian; deploy/packages.sh installs it)" >&2
    [ "${FEDWARD_NO_SKIP:-0}" != 1 ] || failed=1
    return 1
}
hold() { # what, command…
    if ! "${@:2}" >"$work/said" 2>&1; then
        echo "fedward: $1 does not hold:" >&2
        cat "$work/said" >&2
        failed=1
    fi
}
manifests() { kubectl kustomize "$1" >"$work/all.yaml" && PATH=$bin:$PATH kubernetes-validate --strict "$work/all.yaml"; }
exposed() {
    local said
    said=$(systemd-analyze security --offline=true "$1" | tail -1)
    awk -v most="$max_exposure" '{ for (i = 1; i <= NF; i++) if ($i + 0 > 0) exit !($i <= most); exit 1 }' <<<"${said#*:}" ||
        { echo "exposure above $max_exposure: $said"; return 1; }
}

if have dclint dclint; then
    for file in "$deploy"/compose/*.yml; do hold "$file" dclint --max-warnings 0 "$file"; done
fi
if have kubectl kubectl && have kubernetes-validate kubernetes-validate; then
    for folder in "$deploy"/kustomize/base "$deploy"/kustomize/overlays/*/; do hold "$folder" manifests "$folder"; done
fi
if have systemd-analyze systemd; then
    for unit in "$deploy"/systemd/*@.service; do
        # an instance of it, whose kit and program are here
        instance=$work/$(basename "${unit/@/@north-clinic}")
        cp "$unit" "$instance"
        hold "$unit" systemd-analyze verify "$instance"
        hold "$unit" exposed "$instance"
    done
fi
if have promtool prometheus; then
    hold "$deploy/monitoring/prometheus.yml" promtool check config "$deploy/monitoring/prometheus.yml"
    for file in "$deploy"/monitoring/alerts/*.yml; do hold "$file" promtool check rules "$file"; done
    for file in "$deploy"/monitoring/tests/*.yml; do hold "$file" promtool test rules "$file"; done
fi
if have amtool prometheus-alertmanager; then
    hold "$deploy/monitoring/alertmanager.yml" amtool check-config "$deploy/monitoring/alertmanager.yml"
fi
while IFS= read -r -d '' script; do
    hold "$script" bash -n "$script"
    if command -v shellcheck >/dev/null; then hold "$script" shellcheck --severity=warning "$script"; fi
done < <(find "$deploy" .ci -type f \( -name '*.sh' -o -name run \) -print0)
if have prettier prettier; then
    pages=custom/fedward/dashboard/static
    hold "$pages, which 'npx prettier --print-width 120 --write' mends," \
        prettier --print-width 120 --check "$pages/**/*.js" "!$pages/vendor/**"
fi
exit "$failed"
