#!/usr/bin/env bash
# Regenerates from proto/ the contracts' Python code in sdk/, with the tools pinned in the lock, and docs/json-schema.json.
# --check: generate elsewhere and fail if the committed code differs.
set -euo pipefail
cd "$(dirname "$0")/.."
out=sdk
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
else
  find sdk/quintain -name '*_pb2*' -delete
fi
mapfile -t protos < <(cd proto && find quintain -name '*.proto' | sort)
PATH="$PWD/.venv/bin:$PATH" .venv/bin/python -m grpc_tools.protoc -I proto --python_out="$out" --grpc_python_out="$out" \
  --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" "${protos[@]}"
if [ "$out" = sdk ]; then
  for proto in "${protos[@]}"; do
    folder=sdk/$(dirname "$proto")
    touch "$folder/__init__.py" "$(dirname "$folder")/__init__.py"
  done
  .venv/bin/python scripts/json_schema.py
else
  differing=0
  while read -r file; do
    cmp -s "$out/$file" "sdk/$file" || { echo "sdk/$file is not what proto/ generates: run make proto"; differing=1; }
  done < <(cd "$out" && find . -name '*_pb2*' -type f | sort)
  .venv/bin/python scripts/json_schema.py --check || differing=1
  exit $differing
fi
