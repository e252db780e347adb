#!/usr/bin/env bash
# Verifies the same policy twice and on every other Python >= 3.11 of this machine: the verdicts must be equal byte for byte.
# usage: scripts/compare_pythons.sh POLICY [SUITE]
set -euo pipefail
policy=$(realpath "$1")
suite=${2:-smoke}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

verdict() { "$1" verify "$policy" --suite "$suite" --json --data-dir "$work/data-$2" | sed -n 1p | sha256sum | cut -c1-64; }

first=$(verdict .venv/bin/quintain first)
echo "$first  $(.venv/bin/python --version), first time"
failed=0
compare() { echo "$1  $2"; [ "$1" = "$first" ] || failed=1; }
compare "$(verdict .venv/bin/quintain second)" "$(.venv/bin/python --version), second time, new cache"
for python in ${PYTHONS:-python3.12 python3.13 python3.14}; do
  "$python" --version >/dev/null 2>&1 || continue
  "$python" -m venv "$work/$python"
  VIRTUAL_ENV="$work/$python" .venv/bin/uv pip install --quiet --constraint requirements.lock ".[local]"
  compare "$(verdict "$work/$python/bin/quintain" "$python")" "$("$python" --version)"
done
exit $failed
