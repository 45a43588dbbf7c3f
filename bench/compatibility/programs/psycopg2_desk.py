import io

import psycopg2
import psycopg2.extras
from steps import EMAIL, URI, failing, step

db = psycopg2.connect(URI)
db.autocommit = True


def rows(sql, values=None):
    with db.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()


@step("list")
def _():
    return rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = %s ORDER BY t.id LIMIT 20", ("open",))


@step("find by e-mail")
def _():
    return rows("SELECT * FROM customers WHERE email = %s", (EMAIL,))


@step("find by e-mail in any case")
def _():
    return rows("SELECT * FROM customers WHERE email ILIKE %s", (EMAIL.upper(),))


@step("find by several e-mails")
def _():
    return rows("SELECT * FROM customers WHERE email IN %s ORDER BY id", ((EMAIL, "customer.8@example.com"),))


@step("find by an array")
def _():
    return rows("SELECT * FROM customers WHERE email = ANY(%s) ORDER BY id", ([EMAIL, "customer.8@example.com"],))


@step("execute_values")
def _():
    with db.cursor() as cursor:
        sql = "INSERT INTO ticket_messages (ticket_id, author, body) VALUES %s RETURNING id"
        return len(psycopg2.extras.execute_values(cursor, sql, [(7, "agent", f"b{n}") for n in range(10)], fetch=True))


@step("update of all columns")
def _():
    with db.cursor() as cursor:
        cursor.execute("UPDATE tickets SET customer_id = %s, subject = %s, status = %s WHERE id = %s", (8, "Ticket 7", "closed", 7))
        return cursor.rowcount


@step("dictionaries, json, arrays")
def _():
    with db.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT %s::jsonb AS j, %s::int[] AS a, id, phone FROM customers WHERE id = 7", (psycopg2.extras.Json({"a": 1}), [1, 2]))
        return [dict(row) for row in cursor.fetchall()]


@step("transaction, savepoint, rollback")
def _():
    db.autocommit = False
    with db.cursor() as cursor:
        cursor.execute("DELETE FROM ticket_messages WHERE ticket_id = 7")
        cursor.execute("SAVEPOINT s")
        code = failing(lambda: cursor.execute("SELECT 1 / 0"))
        cursor.execute("ROLLBACK TO s; SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")
        inside = cursor.fetchone()
    db.rollback()
    db.autocommit = True
    return [code, inside, rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")]


@step("cursor of the server")
def _():
    db.autocommit = False
    with db.cursor("tickets") as cursor:
        cursor.itersize = 40
        cursor.execute("SELECT id FROM tickets ORDER BY id LIMIT 90")
        count = sum(1 for _ in cursor)
    db.commit()
    db.autocommit = True
    return count


@step("copy_expert out")
def _():
    out = io.StringIO()
    with db.cursor() as cursor:
        cursor.copy_expert("COPY (SELECT id, email FROM customers ORDER BY id LIMIT 3) TO STDOUT", out)
    return [line.split("\t") for line in out.getvalue().splitlines()]


@step("copy_from")
def _():
    with db.cursor() as cursor:
        cursor.copy_from(io.StringIO("9\tagent\tcopied\n"), "ticket_messages", columns=("ticket_id", "author", "body"))
        return cursor.rowcount


@step("wrong statement")
def _():
    return failing(lambda: rows("SELEC 1"))


@step("cancel")
def _():
    import threading

    threading.Timer(0.2, db.cancel).start()
    return failing(lambda: rows("SELECT pg_sleep(5)"))


@step("notifications")
def _():
    with db.cursor() as cursor:
        cursor.execute("LISTEN desk")
        cursor.execute("NOTIFY desk, 'hello'")
    db.poll()
    return [(one.channel, one.payload, one.pid == db.info.backend_pid) for one in db.notifies]


db.close()
