# The programs that Postgres itself ships. Only those that are not older than the server dump it.
set -u
bin=$(ls -d "$COMPAT_ROOT"/usr/lib/postgresql/*/bin | tail -1)
export PATH=$bin:$PATH PGCONNECT_TIMEOUT=10
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs a command; its output, or its exit status and the end of its errors, is a line of JSON for compatibility/steps.ts.
step() {
  local name=$1 out status
  shift
  out=$("$@" 2>"$work/errors"); status=$?
  if [ $status = 0 ]; then
    printf '{"step":"%s","value":%s}\n' "$name" "$(printf %s "$out" | json)"
  else
    printf '{"step":"%s","error":%s}\n' "$name" "$(tail -c 280 "$work/errors" | text)"
  fi
}
# A JSON list of the lines.
json() { perl -MJSON::PP -e 'chomp(my @lines = <STDIN>); print JSON::PP->new->encode(\@lines)'; }
# All of it as one JSON string.
text() { perl -MJSON::PP -e 'local $/; print JSON::PP->new->allow_nonref->encode(<STDIN> // "")'; }
sql() { psql -X -At -v ON_ERROR_STOP=1 "$COMPAT_URI" "$@"; }
typed() { printf '%s\n' "$1" | sql -v mail=customer.7@example.com -f -; }

step "psql -c" sql -c "SELECT id, email FROM customers WHERE email = 'customer.7@example.com'"
step "psql \\\\d" sql -c '\d customers' -c '\dt' -c '\di'
step "psql FETCH_COUNT" sql -v FETCH_COUNT=20 -c "SELECT id FROM tickets ORDER BY id LIMIT 90"
step "psql \\\\copy out" sql -c '\copy (SELECT id, email FROM customers ORDER BY id LIMIT 3) to stdout'
step "psql \\\\gdesc" typed 'SELECT id, email FROM customers \gdesc'
step "psql -1 -f" sql -1 -c "UPDATE tickets SET status = 'closed' WHERE id = 7" -c "SELECT status FROM tickets WHERE id = 7"
step "psql \\\\gset and variables" typed 'SELECT count(*) AS n FROM tickets \gset
SELECT :n AS n, email FROM customers WHERE email = :'"'mail'"' ;'
for mode in simple extended prepared; do
  echo 'SELECT id, phone FROM customers WHERE id = 7; UPDATE tickets SET status = status WHERE id = 7;' >"$work/bench.sql"
  benched() { pgbench --no-vacuum --client 2 --transactions 20 --protocol "$1" --file "$work/bench.sql" "$COMPAT_URI" | grep -E 'processed|failed'; }
  step "pgbench -M $mode" benched $mode
done
step "pg_isready" pg_isready -d "$COMPAT_URI" -q
step "vacuumdb --analyze" vacuumdb --quiet --analyze -d "$COMPAT_URI" --table tickets
