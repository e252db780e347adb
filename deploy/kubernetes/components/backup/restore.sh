#!/bin/sh
# The dump FILE (empty: the newest in FOLDER) into the database at URL, in one transaction: all of it or nothing.
set -eu
: "${URL:?the database, as in the secret quintain-database}" "${FOLDER:=/backup}" "${FILE:=}"
[ -n "$FILE" ] || FILE=$(ls -1 "$FOLDER"/quintain-*.dump | sort | tail -n 1)
address=$(printf '%s' "$URL" | sed 's/^postgresql+psycopg:/postgresql:/')
pg_restore --clean --if-exists --no-owner --single-transaction --dbname="$address" "$FILE"
echo "restored $FILE"
