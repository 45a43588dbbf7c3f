"""What an application does with psycopg 3; prints what it got as JSON. argv: URI, "app" or "agent"."""

import json
import sys

import psycopg

connection = psycopg.connect(sys.argv[1], autocommit=True)
results = []


def run(sql, values=None, **options):
    try:
        cursor = connection.execute(sql, values, **options)
        rows = cursor.fetchall() if cursor.description else []
        names = [column.name for column in cursor.description or []]
        results.append({"names": names, "rows": rows, "status": cursor.statusmessage})
    except psycopg.Error as error:
        results.append({"code": error.sqlstate, "rule": error.diag.constraint_name})


LOOK_UP = "SELECT id, name, email FROM customers WHERE email = %s"
run(LOOK_UP, ("alice.ng.7@example.com",))
run(LOOK_UP, ("alice.ng.7@example.com",), prepare=True)
run(LOOK_UP, ("alice.ng.7@example.com",), prepare=True)
run("SELECT id, email, birth_date FROM customers WHERE id = %s", (7,), binary=True)
run("SELECT id, email FROM customers WHERE id = ANY(%s) ORDER BY id", ([7, 8],))
run("SELECT 1 / %s::int", (0,))

with connection.transaction(force_rollback=True):
    run("UPDATE tickets SET status = 'open' WHERE id = %s RETURNING id, status", (7,))
    with connection.cursor("people") as cursor:
        cursor.execute("SELECT id, name FROM customers WHERE id <= 35 ORDER BY id")
        results.append({"fetched": [row[0] for row in cursor.fetchmany(10) + cursor.fetchall()]})

with connection.cursor() as cursor:
    with cursor.copy("COPY (SELECT id, email FROM customers WHERE id = 7) TO STDOUT") as copy:
        results.append({"copied": [row for row in copy.rows()]})
    with cursor.copy("COPY (SELECT id, email FROM customers WHERE id = 7) TO STDOUT (FORMAT BINARY)") as copy:
        copy.set_types(["int8", "text"])
        results.append({"binary": [row for row in copy.rows()]})

# Each statement more than two gives up the oldest one, by DEALLOCATE in the extended protocol.
connection.prepare_threshold, connection.prepared_max = 0, 2
for number in range(6):
    run(f"SELECT {number}")
connection.prepare_threshold, connection.prepared_max = 5, 100

if psycopg.Pipeline.is_supported():
    with connection.pipeline():
        cursors = [connection.execute("SELECT id, email FROM customers WHERE id = %s", (n,)) for n in range(1, 6)]
        results.append({"pipeline": [cursor.fetchone() for cursor in cursors]})

if sys.argv[2] == "app":
    with connection.transaction(force_rollback=True), connection.cursor() as cursor:
        rows = [(900000 + n, 7, 100, "EUR", "2024-02-01") for n in range(50)]
        cursor.executemany(
            "INSERT INTO payments (id, customer_id, amount_cents, currency, paid_at) VALUES (%s, %s, %s, %s, %s)", rows
        )
        results.append({"inserted": cursor.rowcount})
        with cursor.copy("COPY payments (id, customer_id, amount_cents, currency, paid_at) FROM STDIN") as copy:
            copy.write_row((910000, 7, 100, "EUR", "2024-02-01"))
        results.append({"copied in": cursor.rowcount})
else:
    run("SELECT * FROM customers")
    run("SELECT card_number FROM payments")
    run("SELECT 'goes on'")
connection.close()
print(json.dumps(results, default=str))
