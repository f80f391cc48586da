#!/usr/bin/env bash
# venv.sh DIRECTORY REQUIREMENTS...: makes a virtual environment of Python 3.13 that holds what the
# requirement files say, unless it is there already. A set-up that was interrupted is done again.
set -euo pipefail
cd "$(dirname "$0")/.."

unset VIRTUAL_ENV PYTHONPATH PYTHONHOME PIP_REQUIRE_VIRTUALENV PIP_USER PIP_TARGET PIP_PREFIX

say() { printf '%s\n' "$*" >&2; }

# Prints the interpreter behind a candidate. It has to be run: a shim may be on the path and fail,
# and a python in a virtual environment must not be built upon, it may be the one being replaced.
python_313() {
    "$1" -c '
import os, sys
assert sys.version_info[:2] == (3, 13)
import ensurepip, venv
print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
' 2>/dev/null
}

candidates() {
    if command -v uv >/dev/null; then uv python find --system 3.13 2>/dev/null || true; fi
    type -ap python3.13 || true
    local root
    if root=$(pyenv root 2>/dev/null); then ls -d "$root"/versions/3.13*/bin/python3.13 2>/dev/null || true; fi
}

find_python() {
    local candidate
    while IFS= read -r candidate; do
        if python_313 "$candidate"; then return; fi
    done < <(candidates)
    say "Python 3.13 with its venv module is needed and was not found through uv, on the path or in pyenv."
    return 1
}

directory=$1
shift
python=$(find_python)
stamp=$directory/.made-of
wanted=$(
    "$python" -VV
    echo "$python"
    # -r lines name files that count as well.
    cat "$@" $(sed -n "s/^-r *//p" "$@")
)
up_to_date() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$directory/bin/python" -c '' 2>/dev/null; }

if up_to_date; then exit; fi
mkdir -p .sandbox
if command -v flock >/dev/null; then
    # Two commands in a fresh clone, started together: the second one waits and finds it done.
    exec 9>.sandbox/setup.lock
    flock 9
    if up_to_date; then exit; fi
fi

say "Setting up $directory ..."
rm -rf "$directory"
"$python" -m venv "$directory"
arguments=()
for file in "$@"; do arguments+=(-r "$file"); done
log=$directory/pip.log
if ! "$directory/bin/python" -m pip install --disable-pip-version-check --no-input -q "${arguments[@]}" >"$log" 2>&1; then
    cat "$log" >&2
    say "Could not install what $* asks for; pip says why above."
    exit 1
fi
printf '%s\n' "$wanted" >"$stamp"
