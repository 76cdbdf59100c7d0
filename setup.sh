#!/bin/sh
# Installs what is missing: the Debian packages named as arguments, then tleg with FFCV and the test tools into $VENV.
# `--debian-only`: no Python. Without apt-get or root, FFCV is left out and a line says so; image folders work without it.
set -eu
PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}

install_debian() { # installs the packages that are missing; fails if that is impossible
    missing=""
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "ok installed" || missing="$missing $package"
    done
    [ -z "$missing" ] && return 0
    sudo=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || return 1
        sudo="sudo"
    fi
    echo "setup: installing Debian packages:$missing"
    # shellcheck disable=SC2086  # a list of names
    { $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1
}

explain() {
    tail -n 20 "$log" >&2
    echo "setup: failed; the complete log is in $log" >&2
    exit 1
}

log=$(mktemp /tmp/tleg-setup.XXXXXX)
if [ "${1:-}" = "--debian-only" ]; then
    shift
    install_debian "$@" || explain
    rm -f "$log"
    exit 0
fi

extras=export,track,test,lint
if command -v apt-get >/dev/null && install_debian "$@"; then
    extras=ffcv,$extras
else
    echo "setup: without FFCV, which needs Debian's $*; image folders work, .beton files don't" >&2
fi

if [ ! -x "$VENV/bin/python" ]; then
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge 10 ] || echo "setup: $free GB are free here; a new environment takes 7 GB, and its downloads 3 GB more for a while" >&2
    "$PYTHON" -m venv "$VENV" || explain
fi
echo "setup: installing tleg[$extras] into $VENV (PyTorch is large: a few minutes the first time)"
{
    "$VENV/bin/python" -m pip install -q --upgrade pip &&
        "$VENV/bin/python" -m pip install -q -c constraints.txt -e ".[$extras]"
} >"$log" 2>&1 || explain
rm -f "$log"
echo "setup: done, $("$VENV/bin/tleg" --version)"
