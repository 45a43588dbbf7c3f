import glob
import os

import pyodbc
from steps import EMAIL, PLACE, failing, step

# Where the driver is that was unpacked, or the installed one.
[driver, *_] = glob.glob(f"{os.environ['COMPAT_ROOT']}/usr/lib/*/odbc/psqlodbcw.so") + ["/usr/lib/x86_64-linux-gnu/odbc/psqlodbcw.so"]
options = "SSLmode=disable;UseServerSidePrepare=1"
db = pyodbc.connect(
    f"Driver={driver};Server={PLACE.hostname};Port={PLACE.port};Database={PLACE.path[1:]};Uid={PLACE.username};Pwd={PLACE.password};{options}", autocommit=True
)


def rows(sql, *values):
    return [list(row) for row in db.execute(sql, *values).fetchall()]


@step("list")
def _():
    return rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = ? ORDER BY t.id LIMIT 20", "open")


@step("find by e-mail")
def _():
    return rows("SELECT * FROM customers WHERE email = ?", EMAIL)


@step("find by e-mail in any case")
def _():
    return rows("SELECT * FROM customers WHERE lower(email) = lower(?)", EMAIL)


@step("insert returning")
def _():
    return rows("INSERT INTO tickets (customer_id, subject) VALUES (?, ?) RETURNING id, status", 7, "New")


@step("update of all columns")
def _():
    return db.execute("UPDATE tickets SET customer_id = ?, subject = ?, status = ? WHERE id = ?", 8, "Ticket 7", "closed", 7).rowcount


@step("executemany")
def _():
    db.cursor().executemany("INSERT INTO ticket_messages (ticket_id, author, body) VALUES (?, 'agent', ?)", [(7, f"b{n}") for n in range(5)])
    return rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")


@step("rollback")
def _():
    db.autocommit = False
    db.execute("DELETE FROM ticket_messages WHERE ticket_id = 7")
    db.rollback()
    db.autocommit = True
    return rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")


@step("wrong statement")
def _():
    try:
        rows("SELEC 1")
    except pyodbc.Error as error:
        return error.args[0]


@step("tables, columns, keys")
def _():
    cursor = db.cursor()
    tables = [row.table_name for row in cursor.tables(schema="public", tableType="TABLE")]
    own = [name for name in tables if name in ("customers", "tickets", "ticket_messages")]
    columns = [row.column_name for row in cursor.columns(table="customers", schema="public")]
    return [own, columns, len(cursor.primaryKeys("tickets", schema="public").fetchall()), len(cursor.foreignKeys(foreignTable="tickets", foreignSchema="public").fetchall())]


db.close()
