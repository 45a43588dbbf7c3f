from peewee import SQL, BigAutoField, ForeignKeyField, Model, PostgresqlDatabase, TextField, fn, prefetch
from steps import EMAIL, PLACE, failing, step

db = PostgresqlDatabase(PLACE.path[1:], user=PLACE.username, password=PLACE.password, host=PLACE.hostname, port=PLACE.port)


class Customer(Model):
    id = BigAutoField()
    name, email, phone, country = TextField(), TextField(), TextField(null=True), TextField()

    class Meta:
        database, table_name = db, "customers"


class Ticket(Model):
    id = BigAutoField()
    customer = ForeignKeyField(Customer, backref="tickets")
    assignee, subject, note, status = TextField(null=True), TextField(), TextField(null=True), TextField(default="open")

    class Meta:
        database, table_name = db, "tickets"


class Message(Model):
    id = BigAutoField()
    ticket = ForeignKeyField(Ticket, backref="messages")
    author, body = TextField(), TextField()

    class Meta:
        database, table_name = db, "ticket_messages"


@step("get by e-mail")
def _():
    return list(Customer.select().where(Customer.email == EMAIL).dicts())


@step("lower")
def _():
    return list(Customer.select().where(fn.LOWER(Customer.email) == EMAIL).dicts())


@step("in or phone")
def _():
    wanted = (Customer.email << [EMAIL, "customer.8@example.com"]) | (Customer.phone == "+1 555 0109")
    return list(Customer.select().where(wanted).order_by(Customer.id).dicts())


@step("join")
def _():
    return list(Ticket.select(Ticket.id, Ticket.note, Customer.email).join(Customer).order_by(Ticket.id).limit(20).dicts())


@step("prefetch")
def _():
    tickets = prefetch(Ticket.select().where(Ticket.id << [5, 6, 7]).order_by(Ticket.id), Message.select().order_by(Message.id))
    return [[ticket.id, [message.body for message in ticket.messages]] for ticket in tickets]


@step("group")
def _():
    return list(Ticket.select(Ticket.status, fn.COUNT(Ticket.id).alias("n")).group_by(Ticket.status).order_by(Ticket.status).dicts())


@step("create")
def _():
    return Ticket.create(customer=7, subject="New").id


@step("insert_many")
def _():
    return len(list(Message.insert_many([{"ticket": 7, "author": "agent", "body": f"b{n}"} for n in range(5)]).execute()))


@step("save of one field")
def _():
    ticket = Ticket.get_by_id(7)
    ticket.status = "closed"
    return ticket.save(only=[Ticket.status])


@step("save of all")
def _():
    with db.atomic():
        ticket = Ticket.get_by_id(8)
        ticket.status = "closed"
        return ticket.save()


@step("upsert")
def _():
    query = Ticket.insert(id=7, customer=8, subject="Ticket 7", status="pending")
    return query.on_conflict(conflict_target=[Ticket.id], update={Ticket.status: SQL("excluded.status")}).execute()


@step("atomic, nested")
def _():
    with db.atomic():
        Ticket.update(status="open").where(Ticket.id == 7).execute()

        def wrong():
            with db.atomic():
                db.execute_sql("SELECT 1 / 0")

        return [failing(wrong), Ticket.get_by_id(7).status]


@step("for update")
def _():
    with db.atomic():
        return [t.id for t in Ticket.select(Ticket.id).where(Ticket.id == 9).for_update()]


@step("introspection")
def _():
    return [[column.name for column in db.get_columns("customers")], [key.column for key in db.get_foreign_keys("tickets")]]
