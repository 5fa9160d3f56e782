# Sourced by the scripts beside it: makes a venv and installs Stationkeep into it, once.
# Needs $root.
#   prepare_environment run|test     in $root/.venv, what requirements.lock says: for `scripts/up`
#                                    its first part, for the tests all of it
#   prepare_environment newest       in $root/.venv-newest, the newest that pyproject.toml allows
#   prepare_environment oldest       in $root/.venv-oldest, the lowest
# Installs again when pyproject.toml or the lock has changed; the newest always. $venv is the result.

prepare_environment() {
    case $1 in
    newest | oldest) venv=$root/.venv-$1 ;;
    *) venv=$root/.venv ;;
    esac
    stamp=$venv/.stationkeep-$1
    "$venv/bin/python" -c '' 2>/dev/null || make_venv
    if ! installed "$1"; then
        echo "$0: installing into $venv (a minute, once)" >&2
        rm -f "$stamp"
        "install_$1"
        cat "$root/pyproject.toml" "$root/requirements.lock" >"$stamp"
    fi
}

make_venv() {
    python=${PYTHON:-python3}
    if ! command -v "$python" >/dev/null 2>&1; then
        echo "$0: $python not found; Stationkeep needs Python 3.11 or newer" >&2
        exit 1
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        echo "$0: $("$python" --version) is too old; Stationkeep needs Python 3.11 or" \
            "newer (PYTHON=/path/to/python3 names another)" >&2
        exit 1
    fi
    echo "$0: making $venv" >&2
    "$python" -m venv "$venv" || {
        echo "$0: python3 -m venv failed; on Debian: apt install python3-venv" >&2
        exit 1
    }
}

installed() {
    [ "$1" != newest ] && [ -x "$venv/bin/stationkeep" ] && [ -f "$stamp" ] &&
        cat "$root/pyproject.toml" "$root/requirements.lock" | cmp -s - "$stamp"
}

pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

install_run() {
    sed '/^# -- extras/,$d' "$root/requirements.lock" >"$venv/run.lock"
    install_locked "$venv/run.lock" "$root"
}

install_test() {
    install_locked "$root/requirements.lock" "$root[test]"
}

# install_locked LOCK PROJECT: where a file of the lock cannot be had or built (another Python,
# another platform), the ranges of pyproject.toml must do. A file that is another than the locked
# one is no such case.
install_locked() {
    told=$venv/install.log
    if pip_install --require-hashes -r "$1" 2>"$told"; then
        pip_install --no-deps --no-build-isolation -e "$root"
        return
    fi
    cat "$told" >&2
    if grep -q 'DO NOT MATCH THE HASHES' "$told"; then
        echo "$0: not installed: a file differs from requirements.lock" >&2
        exit 1
    fi
    echo "$0: $("$venv/bin/python" --version) on $(uname -sm) cannot install requirements.lock;" \
        "installing by the ranges in pyproject.toml, with versions nobody has tested together" >&2
    pip_install -e "$2"
}

install_newest() {
    pip_install --upgrade --upgrade-strategy eager -e "$root[test]"
}

install_oldest() {
    "$venv/bin/python" "$root/scripts/lowest.py" >"$venv/lowest.txt"
    pip_install --constraint "$venv/lowest.txt" -e "$root[test]"
}
