"""What an application does with psycopg 2; prints what it got as JSON. argv: URI, "app" or "agent"."""

import json
import sys

import psycopg2
import psycopg2.errors
import psycopg2.extras

connection = psycopg2.connect(sys.argv[1])
results = []


def run(sql, values=None):
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql, values)
            rows = cursor.fetchall() if cursor.description else []
            names = [column.name for column in cursor.description or []]
            results.append({"names": names, "rows": rows, "status": cursor.statusmessage})
        except psycopg2.Error as error:
            results.append({"code": error.pgcode, "rule": error.diag.constraint_name})
            connection.rollback()
    return results[-1]


run("SELECT id, name, email FROM customers WHERE email = %s", ("alice.ng.7@example.com",))
run("SELECT id, email FROM customers WHERE id = ANY(%s) ORDER BY id", ([7, 8],))
run("SELECT 1 / %s", (0,))
run("UPDATE tickets SET status = 'open' WHERE id = %s RETURNING id, status", (7,))
connection.rollback()

# A named cursor is DECLARE and FETCH.
with connection.cursor("people") as cursor:
    cursor.itersize = 10
    cursor.execute("SELECT id, name FROM customers WHERE id <= 35 ORDER BY id")
    results.append({"fetched": [row[0] for row in cursor], "width": len(cursor.description)})
connection.rollback()

with connection.cursor() as cursor:
    with open("/dev/null", "w") as sink:
        cursor.copy_expert("COPY (SELECT id, email FROM customers WHERE id = 7) TO STDOUT", sink)
    results.append({"copied": cursor.rowcount})
connection.rollback()

if sys.argv[2] == "app":
    run("SELECT * FROM payments ORDER BY id")
    with connection.cursor() as cursor:
        rows = [(900000 + n, 7, 100, "EUR", "2024-02-01") for n in range(50)]
        psycopg2.extras.execute_values(
            cursor, "INSERT INTO payments (id, customer_id, amount_cents, currency, paid_at) VALUES %s", rows
        )
        results.append({"inserted": cursor.rowcount})
    connection.rollback()
else:
    run("SELECT * FROM customers")
    run("SELECT card_number FROM payments")
    run("SELECT 'goes on'")
connection.close()
print(json.dumps(results, default=str))
