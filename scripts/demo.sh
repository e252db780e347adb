#!/usr/bin/env bash
# The demo: a real search without an API key. SIMULATOR=faas (default) or cache_eviction (the example plugin).
set -euo pipefail
cd "$(dirname "$0")/.."
simulator=${SIMULATOR:-faas}
suite=paper-reference
if [ "$simulator" = cache_eviction ]; then
  suite=standard
  .venv/bin/python -c 'import cache_eviction' 2>/dev/null || {
    echo "demo: installing the example simulator"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable examples/simulators/cache_eviction
  }
fi
echo "demo: searching for a better $simulator policy on the suite $suite with the offline backend (no API key, about 5 minutes)"
exec .venv/bin/quintain search --simulator "$simulator" --suite "$suite" --backend offline --candidates 200 --minutes 4 "$@"
