#!/usr/bin/env bash
# Every benchmark of the project, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
for module in cli engine sandbox system verifier remote controller offline prompt_size; do
  echo "== benchmarks/$module.py"
  .venv/bin/python -m "benchmarks.$module"
done
