#!/usr/bin/env bash
# Regenerates the Python code of the contracts from proto/ into sdk/. Pinned tools: see grpcio-tools in pyproject.toml.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
find sdk/quintain -name '*_pb2*' -delete
PATH="$PWD/$bin:$PATH" $bin/python -m grpc_tools.protoc -I proto \
  --python_out=sdk --grpc_python_out=sdk --mypy_out=sdk --mypy_grpc_out=sdk \
  $(cd proto && find quintain -name '*.proto' | sort)
for package in type generator verifier controller simulator; do
  for folder in sdk/quintain/$package sdk/quintain/$package/v1; do
    [ -e "$folder/__init__.py" ] || touch "$folder/__init__.py"
  done
done
