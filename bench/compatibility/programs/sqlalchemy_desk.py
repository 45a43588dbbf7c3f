from sqlalchemy import BigInteger, Column, ForeignKey, Text, create_engine, func, inspect, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, declarative_base, joinedload, relationship, selectinload, subqueryload
from steps import EMAIL, URI, failing, step

Base = declarative_base()


class Customer(Base):
    __tablename__ = "customers"
    id = Column(BigInteger, primary_key=True)
    name, email, phone, country = Column(Text), Column(Text), Column(Text), Column(Text)
    tickets = relationship("Ticket", back_populates="customer", order_by="Ticket.id")


class Ticket(Base):
    __tablename__ = "tickets"
    id = Column(BigInteger, primary_key=True)
    customer_id = Column(ForeignKey("customers.id"))
    assignee, subject, note, status = Column(Text), Column(Text), Column(Text), Column(Text, server_default="open")
    customer = relationship(Customer, back_populates="tickets")
    messages = relationship("Message", back_populates="ticket", order_by="Message.id")


class Message(Base):
    __tablename__ = "ticket_messages"
    id = Column(BigInteger, primary_key=True)
    ticket_id = Column(ForeignKey("tickets.id"))
    author, body = Column(Text), Column(Text)
    ticket = relationship(Ticket, back_populates="messages")


engine = create_engine(URI, pool_size=2)


def fields(row):
    return {column.key: getattr(row, column.key) for column in inspect(row).mapper.column_attrs}


def ask(statement):
    with Session(engine) as session:
        return [fields(row) for row in session.scalars(statement)]


@step("find by e-mail")
def _():
    return ask(select(Customer).where(Customer.email == EMAIL))


@step("lower")
def _():
    return ask(select(Customer).where(func.lower(Customer.email) == EMAIL))


@step("ilike")
def _():
    return ask(select(Customer).where(Customer.email.ilike(EMAIL)))


@step("in")
def _():
    return ask(select(Customer).where(Customer.email.in_([EMAIL, "customer.8@example.com"])).order_by(Customer.id))


@step("or")
def _():
    return ask(select(Customer).where(or_(Customer.email == EMAIL, Customer.phone == "+1 555 0109")).order_by(Customer.id))


for loading in (joinedload, selectinload, subqueryload):

    @step(f"{loading.__name__}, two levels")
    def _():
        with Session(engine) as session:
            options = loading(Customer.tickets).options(loading(Ticket.messages))
            customer = session.scalars(select(Customer).where(Customer.email == EMAIL).options(options)).unique().one()
            return [[ticket.id, ticket.note, [message.body for message in ticket.messages]] for ticket in customer.tickets]


@step("page with a join")
def _():
    with Session(engine) as session:
        rows = session.execute(select(Ticket.id, Customer.email).join(Customer).order_by(Ticket.id).limit(20).offset(20))
        return [list(row) for row in rows]


@step("group by")
def _():
    with Session(engine) as session:
        rows = session.execute(select(Ticket.status, func.count()).group_by(Ticket.status).order_by(Ticket.status))
        return [list(row) for row in rows]


@step("add with children")
def _():
    with Session(engine) as session:
        ticket = Ticket(customer_id=7, subject="New", messages=[Message(author="agent", body="one"), Message(author="agent", body="two")])
        session.add(ticket)
        session.commit()
        return [ticket.status, len(ticket.messages)]


@step("change and commit")
def _():
    with Session(engine) as session:
        session.get(Ticket, 7).status = "closed"
        session.commit()
        return session.get(Ticket, 7).status


@step("merge of a detached one")
def _():
    with Session(engine) as session:
        session.merge(Ticket(id=7, customer_id=8, subject="Ticket 7", status="pending"))
        session.commit()
        return session.get(Ticket, 7).status


@step("update statement")
def _():
    with engine.begin() as connection:
        return connection.execute(update(Ticket).where(Ticket.id == 8).values(status="closed")).rowcount


@step("upsert")
def _():
    with engine.begin() as connection:
        statement = insert(Ticket).values(id=7, customer_id=8, subject="Ticket 7", status="open")
        statement = statement.on_conflict_do_update(index_elements=["id"], set_={"status": statement.excluded.status})
        return [list(row) for row in connection.execute(statement.returning(Ticket.id, Ticket.status))]


@step("begin_nested")
def _():
    with Session(engine) as session:
        session.get(Ticket, 7).status = "closed"

        def wrong():
            with session.begin_nested():
                session.execute(text("SELECT 1 / 0"))

        code = failing(wrong)
        session.rollback()
        return [code, session.get(Ticket, 7).status]


@step("with_for_update")
def _():
    with Session(engine) as session:
        return session.scalars(select(Ticket.id).where(Ticket.id == 9).with_for_update()).all()


@step("stream_results")
def _():
    with engine.connect().execution_options(stream_results=True, max_row_buffer=20) as connection:
        return sum(1 for _ in connection.execute(select(Ticket.id).order_by(Ticket.id).limit(90)))


@step("delete")
def _():
    with Session(engine) as session:
        session.delete(session.scalars(select(Message).where(Message.ticket_id == 9).order_by(Message.id).limit(1)).one())
        session.commit()
        return True


@step("reflection")
def _():
    look = inspect(engine)
    names = [name for name in look.get_table_names() if name in ("customers", "tickets", "ticket_messages")]
    return [sorted(names), [c["name"] for c in look.get_columns("customers")], look.get_foreign_keys("tickets"), look.get_pk_constraint("tickets")]
