import asyncio

import asyncpg
from steps import EMAIL, URI, failing, step

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
wait = loop.run_until_complete
db = wait(asyncpg.connect(URI))


def rows(sql, *values):
    return [dict(row) for row in wait(db.fetch(sql, *values))]


@step("list")
def _():
    return rows("SELECT t.*, c.email FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE t.status = $1 ORDER BY t.id LIMIT 20", "open")


@step("find by e-mail")
def _():
    return rows("SELECT * FROM customers WHERE email = $1", EMAIL)


@step("find by e-mail in any case")
def _():
    return rows("SELECT * FROM customers WHERE lower(email) = lower($1)", EMAIL.upper())


@step("find by an array")
def _():
    return rows("SELECT * FROM customers WHERE email = ANY($1) ORDER BY id", [EMAIL, "customer.8@example.com"])


@step("fetchrow, fetchval")
def _():
    return [dict(wait(db.fetchrow("SELECT id, phone FROM customers WHERE id = $1", 7))), wait(db.fetchval("SELECT count(*) FROM tickets"))]


@step("type that must be looked up")
def _():
    return [str(value) for value in rows("SELECT ARRAY[row(1, 'a')] AS r, '{1,2}'::int4[] AS a, '[1,3)'::int4range AS g")[0].values()]


@step("prepared statement with a cursor")
def _():
    async def act():
        async with db.transaction():
            statement = await db.prepare("SELECT id FROM tickets ORDER BY id LIMIT 90")
            return len([row async for row in statement.cursor(prefetch=25)])

    return wait(act())


@step("executemany")
def _():
    wait(db.executemany("INSERT INTO ticket_messages (ticket_id, author, body) VALUES ($1, 'agent', $2)", [(7, f"b{n}") for n in range(10)]))
    return rows("SELECT count(*) FROM ticket_messages WHERE ticket_id = 7")


@step("update of all columns")
def _():
    return wait(db.execute("UPDATE tickets SET customer_id = $1, subject = $2, status = $3 WHERE id = $4", 8, "Ticket 7", "closed", 7))


@step("nested transaction")
def _():
    async def act():
        async with db.transaction():
            await db.execute("UPDATE tickets SET status = 'open' WHERE id = 7")
            try:
                async with db.transaction():
                    await db.execute("SELECT 1 / 0")
            except asyncpg.DivisionByZeroError as error:
                return [error.sqlstate, await db.fetchval("SELECT status FROM tickets WHERE id = 7")]

    return wait(act())


@step("copy_from_query")
def _():
    import io

    out = io.BytesIO()
    wait(db.copy_from_query("SELECT id, email FROM customers ORDER BY id LIMIT 3", output=out))
    return [line.split("\t") for line in out.getvalue().decode().splitlines()]


@step("copy_records_to_table")
def _():
    return wait(db.copy_records_to_table("ticket_messages", records=[(9, "agent", "copied")], columns=["ticket_id", "author", "body"]))


@step("wrong statement")
def _():
    return failing(lambda: rows("SELEC 1"))


@step("timeout cancels")
def _():
    try:
        wait(db.fetch("SELECT pg_sleep(5)", timeout=0.2))
    except asyncio.TimeoutError:
        return rows("SELECT 1 AS a")


@step("notifications")
def _():
    async def act():
        heard = loop.create_future()
        await db.add_listener("desk", lambda *told: heard.done() or heard.set_result(told))
        await db.execute("NOTIFY desk, 'hello'")
        _, pid, channel, payload = await asyncio.wait_for(heard, 5)
        return [channel, payload, pid == db.get_server_pid()]

    return wait(act())


@step("pool with reset")
def _():
    async def act():
        async with asyncpg.create_pool(URI, min_size=2, max_size=2) as pool:
            return await asyncio.gather(*(pool.fetchval("SELECT phone FROM customers WHERE id = $1", n) for n in range(1, 9)))

    return wait(act())


@step("schema introspection by cast")
def _():
    wait(db.set_type_codec("jsonb", encoder=str, decoder=str, schema="pg_catalog"))
    return rows("SELECT '{}'::jsonb AS j")


wait(db.close())
