#!/bin/sh
# One dump of the database at URL into FOLDER, and of those before it the newest KEEP - 1.
set -eu
: "${URL:?the database, as in the secret quintain-database}" "${FOLDER:=/backup}" "${KEEP:=14}"
address=$(printf '%s' "$URL" | sed 's/^postgresql+psycopg:/postgresql:/') # libpq knows no drivers
name=quintain-$(date -u +%Y%m%dT%H%M%SZ).dump
pg_dump --format=custom --no-owner --file="$FOLDER/$name.partial" "$address"
pg_restore --list "$FOLDER/$name.partial" >/dev/null # it can be read
mv "$FOLDER/$name.partial" "$FOLDER/$name"
ls -1 "$FOLDER"/quintain-*.dump | sort -r | tail -n "+$((KEEP + 1))" | while read -r old; do rm -- "$old"; done
echo "wrote $name, $(ls -1 "$FOLDER"/quintain-*.dump | wc -l) kept"
