# Sourced by the scripts beside it: makes .venv and installs Stationkeep into it, once.
# Needs $root. prepare_environment NAME EXTRAS: installs again when pyproject.toml has changed.

prepare_environment() {
    venv=$root/.venv
    stamp=$venv/.stationkeep-$1
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
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
    fi
    if ! cmp -s "$root/pyproject.toml" "$stamp" || [ ! -x "$venv/bin/stationkeep" ]; then
        echo "$0: installing (a minute, once)" >&2
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$root$2"
        cp "$root/pyproject.toml" "$stamp"
    fi
}
