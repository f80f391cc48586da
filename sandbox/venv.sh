#!/usr/bin/env bash
# venv.sh DIRECTORY REQUIREMENTS [DIRECTORY REQUIREMENTS ...]
# Makes each virtual environment (Python 3.13) that is missing or out of date, all at the same time.
# An interrupted set-up is done again.
set -euo pipefail
cd "$(dirname "$0")/.."

# Settings of the caller that would put packages elsewhere.
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME PIP_REQUIRE_VIRTUALENV PIP_USER PIP_TARGET PIP_PREFIX UV_PYTHON
# Trust what the machine trusts: a company's proxy may have a certificate of its own.
export UV_SYSTEM_CERTS=true

uv_version=0.13.9
own_uv=.sandbox/uv
log=.sandbox/setup.log

say() { printf '%s\n' "$*" >&2; }

# A requirements file with the files that its -r lines name.
contents() {
    local flag file
    cat "$1"
    while read -r flag file; do
        if [ "$flag" = -r ]; then contents "$(dirname "$1")/$file"; fi
    done <"$1"
}

# Once `make test` has installed everything, `make demo` does not go back to its few packages.
wider() {
    local made_of=
    if [ -f "$1/.made-of" ]; then read -r made_of <"$1/.made-of" || true; fi
    if [ -f "$made_of" ] && [[ $(<"$made_of") == *"-r $2"* ]]; then echo "$made_of"; else echo "$2"; fi
}

stamp() {
    echo "$1"
    contents "$1"
}

up_to_date() {
    [ -f "$1/.made-of" ] && [ "$(<"$1/.made-of")" = "$(stamp "$(wider "$1" "$2")")" ] &&
        "$1/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null
}

all_up_to_date() {
    while [ $# -gt 0 ]; do
        up_to_date "$1" "$2" || return 1
        shift 2
    done
}

# Interpreters on the path and in pyenv. Each has to be tried: a shim may be on the path and fail.
pythons() {
    local root
    type -ap "$@" || true
    if root=$(pyenv root 2>/dev/null); then printf '%s\n' "$root"/versions/3.*/bin/python3; fi
}

# A virtual environment takes ten times as long, but Debian's Python has no pip outside of one.
install_uv() {
    rm -rf "$own_uv"
    "$1" -m pip install -q --no-deps --no-compile --target "$own_uv" "uv==$uv_version" ||
        { "$1" -m venv --clear "$own_uv" && "$own_uv/bin/python" -m pip install -q "uv==$uv_version"; }
}

find_uv() {
    local python
    if uv --version >/dev/null 2>&1; then
        echo uv
        return
    fi
    if [[ $("$own_uv/bin/uv" --version 2>/dev/null) != "uv $uv_version"* ]]; then
        say "Installing uv $uv_version into $own_uv ..."
        while IFS= read -r python; do
            if install_uv "$python" >>"$log" 2>&1; then break; fi
        done < <(pythons python3.13 python3 python)
    fi
    if [ -x "$own_uv/bin/uv" ]; then
        echo "$own_uv/bin/uv"
        return
    fi
    say "The set-up needs uv: install it, or Python 3.9 or newer with pip ($log says what was tried)."
    return 1
}

# Prints the interpreter behind a candidate: the one of a virtual environment may be about to go.
python_313() {
    "$1" -c '
import os, sys
assert sys.version_info[:2] == (3, 13)
print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
' 2>/dev/null
}

find_python() {
    local candidate
    while IFS= read -r candidate; do
        if python_313 "$candidate"; then return; fi
    done < <(pythons python3.13 python3 python)
    if "$1" python find --managed-python 3.13 2>/dev/null; then return; fi
    say "Python 3.13 is not on this machine; uv tries to download it ..."
    if "$1" python install 3.13 >>"$log" 2>&1 && "$1" python find --managed-python 3.13 2>/dev/null; then return; fi
    say "Python 3.13 is needed and could not be downloaded; install it so that python3.13 is on the path."
    return 1
}

# make_environment UV PYTHON DIRECTORY REQUIREMENTS
make_environment() {
    local file output started=$SECONDS
    file=$(wider "$3" "$4")
    say "Installing $file into $3 ..."
    rm -rf "$3"
    if ! output=$({ "$1" venv -q --python "$2" "$3" && "$1" pip install -q --python "$3/bin/python" -r "$file"; } 2>&1); then
        say "$output"
        say "Could not install $file: uv says why above. It reads its own settings, not pip's."
        return 1
    fi
    stamp "$file" >"$3/.made-of"
    say "Installed $file in $((SECONDS - started)) s."
}

if all_up_to_date "$@"; then exit; fi
mkdir -p .sandbox
if command -v flock >/dev/null; then
    # Of two commands started together in a fresh clone, the second waits and finds everything done.
    exec 9>.sandbox/setup.lock
    flock 9
fi
: >"$log"
uv=$(find_uv)
python=$(find_python "$uv")
jobs=()
trap 'kill "${jobs[@]}" 2>/dev/null; exit 130' INT TERM
while [ $# -gt 0 ]; do
    if ! up_to_date "$1" "$2"; then
        make_environment "$uv" "$python" "$1" "$2" &
        jobs+=($!)
    fi
    shift 2
done
for job in "${jobs[@]}"; do wait "$job"; done
