import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from steps import EMAIL, URI, failing, step

db = psycopg.connect(URI, autocommit=True, row_factory=dict_row)


def rows(sql, values=None, **options):
    return db.execute(sql, values, **options).fetchall()


@step("list")
def _():
    return rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = %s ORDER BY t.id LIMIT 20", ("open",))


@step("find by e-mail")
def _():
    return rows("SELECT * FROM customers WHERE email = %s", (EMAIL,))


@step("find by e-mail in any case")
def _():
    return rows("SELECT * FROM customers WHERE lower(email) = lower(%s)", (EMAIL.upper(),))


@step("find by several e-mails")
def _():
    return rows("SELECT * FROM customers WHERE email = ANY(%s) ORDER BY id", ([EMAIL, "customer.8@example.com"],))


@step("find by e-mail or phone")
def _():
    return rows("SELECT * FROM customers WHERE email = %(e)s OR phone = %(p)s ORDER BY id", {"e": EMAIL, "p": "+1 555 0109"})


@step("binary parameters and results")
def _():
    return rows("SELECT id, email, created_at FROM customers WHERE id = %b", (7,), binary=True)


@step("prepared after five times")
def _():
    return [rows("SELECT phone FROM customers WHERE id = %s", (n,))[0]["phone"] for n in range(1, 11)]


@step("more prepared statements than are kept")
def _():
    return sum(len(rows(f"SELECT {n} AS n, phone FROM customers WHERE id = %s", (1,), prepare=True)) for n in range(150))


@step("types")
def _():
    return rows("SELECT %s::jsonb AS j, %s::int[] AS a, %s::bytea AS b", (Jsonb({"a": 1}), [1, 2], b"abc"))


@step("insert returning")
def _():
    return rows("INSERT INTO tickets (customer_id, subject) VALUES (%s, %s) RETURNING id, status", (7, "New"))


@step("executemany")
def _():
    with db.cursor() as cursor:
        cursor.executemany("INSERT INTO ticket_messages (ticket_id, author, body) VALUES (%s, 'agent', %s)", [(7, f"b{n}") for n in range(10)])
        return cursor.rowcount


@step("update of all columns")
def _():
    return db.execute("UPDATE tickets SET customer_id = %s, subject = %s, status = %s WHERE id = %s", (8, "Ticket 7", "closed", 7)).rowcount


@step("transaction with a savepoint")
def _():
    with db.transaction():
        db.execute("UPDATE tickets SET status = 'open' WHERE id = 7")

        def wrong():
            with db.transaction():
                db.execute("SELECT 1 / 0")

        return [failing(wrong), rows("SELECT status FROM tickets WHERE id = 7")]


@step("rollback")
def _():
    with db.transaction(force_rollback=True):
        db.execute("DELETE FROM ticket_messages WHERE ticket_id = 7")
    return rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")


@step("pipeline")
def _():
    with db.pipeline():
        cursors = [db.execute("SELECT id, email FROM customers WHERE id = %s", (n,)) for n in range(1, 6)]
        return [cursor.fetchone() for cursor in cursors]


@step("cursor of the server")
def _():
    with db.transaction(), db.cursor("tickets") as cursor:
        cursor.execute("SELECT id FROM tickets ORDER BY id LIMIT 90")
        return [len(cursor.fetchmany(40)), len(cursor.fetchall())]


@step("cursor WITH HOLD")
def _():
    with db.cursor("held", withhold=True) as cursor:
        cursor.execute("SELECT id FROM tickets ORDER BY id LIMIT 90")
        return [len(cursor.fetchmany(40)), len(cursor.fetchall())]


@step("stream")
def _():
    with db.cursor() as cursor:
        return sum(1 for _ in cursor.stream("SELECT id FROM tickets ORDER BY id LIMIT 90"))


@step("copy out, text and binary")
def _():
    with db.cursor() as cursor:
        with cursor.copy("COPY (SELECT id, email FROM customers ORDER BY id LIMIT 3) TO STDOUT") as copy:
            text = list(copy.rows())
        with cursor.copy("COPY (SELECT id, email FROM customers ORDER BY id LIMIT 3) TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "text"])
            return [text, list(copy.rows())]


@step("copy in")
def _():
    with db.cursor() as cursor:
        with cursor.copy("COPY ticket_messages (ticket_id, author, body) FROM STDIN") as copy:
            for n in range(5):
                copy.write_row((9, "agent", f"copied {n}"))
        return cursor.rowcount


@step("wrong statement")
def _():
    return failing(lambda: db.execute("SELEC 1"))


@step("notifications")
def _():
    heard = []
    db.add_notify_handler(heard.append)
    db.execute("LISTEN desk")
    db.execute("NOTIFY desk, 'hello'")
    db.execute("SELECT 1")
    return [[one.channel, one.payload, one.pid == db.info.backend_pid] for one in heard]


@step("two-phase commit")
def _():
    db.autocommit = False
    db.tpc_begin("desk")
    db.execute("UPDATE tickets SET status = 'open' WHERE id = 10")
    db.tpc_prepare()
    db.tpc_commit()
    db.autocommit = True
    return rows("SELECT status FROM tickets WHERE id = 10")


db.close()
