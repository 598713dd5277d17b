# Sourced by scripts/demo and scripts/test: a virtual environment with this program in it.
#
#   environment EXTRAS    makes it, installs `.[EXTRAS]` when setup.py has changed since, and puts
#                         it first on PATH; says what it does on stderr
#
# PSUP_VENV names another folder than .venv; PYTHON the interpreter that makes it.

OLDEST_PYTHON=3.11

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
    say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
else
    say() { printf '==> %s\n' "$*" >&2; }
fi

# fail PROBLEM [HINT...]
fail() {
    printf 'error: %s\n' "$1" >&2
    shift
    for hint in "$@"; do printf '  %s\n' "$hint" >&2; done
    exit 1
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3.11 python3.12 python3.13 python3 python
    fi
    for candidate in "$@"; do
        if command -v "$candidate" >/dev/null && is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    found=$("${PYTHON:-python3}" --version 2>&1) || found="none that runs"
    fail "psup needs Python $OLDEST_PYTHON or newer; found: $found" \
        "install one (apt install python3.11 python3.11-venv; brew install python@3.11)," \
        "or say where it is: PYTHON=/path/to/python3.11 $0"
}

make_venv() {
    python=$(find_python) || exit 1
    if [ -e "$VENV" ]; then
        # Never remove what is not a virtual environment, whatever PSUP_VENV says.
        [ -f "$VENV/pyvenv.cfg" ] || fail "$VENV exists and is not a virtual environment" \
            "move it away, or name another folder: PSUP_VENV=/path/to/folder $0"
        rm -rf "$VENV"
    fi
    say "making a virtual environment in $VENV with $("$python" --version)"
    "$python" -m venv "$VENV" >&2 || fail "$python cannot make a virtual environment" \
        "on Debian and Ubuntu: apt install python3-venv"
}

# The stamp says what was installed; an installation that broke off leaves none.
install_into_venv() {
    stamp="$VENV/.installed-$(printf '%s' "$1" | tr , -)"
    wanted=$(cksum <setup.py)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
    say "installing psup with its dependencies [$1]; Ray is large, this may take some minutes"
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check --editable ".[$1]" >&2 ||
        fail "pip could not install psup" "its own words are above; $0 tries again"
    # pip does not compile what it installs editable, and a command that people wait for should not.
    "$VENV/bin/python" -m compileall -q supervisor >&2
    printf '%s\n' "$wanted" >"$stamp"
}

environment() {
    VENV=${PSUP_VENV:-$PWD/.venv}
    if [ ! -x "$VENV/bin/python" ] || ! is_new_enough "$VENV/bin/python"; then
        make_venv
    fi
    install_into_venv "$1"
    PATH="$VENV/bin:$PATH"
    export PATH
}
