from contextlib import contextmanager
from contextvars import ContextVar
from urllib.parse import quote

from sqlalchemy import BigInteger, Column, ForeignKey, Text, create_engine, event, func, select, text
from sqlalchemy.orm import Session, declarative_base, joinedload, relationship, selectinload

from day import NAMING, URI, day, failing

Base = declarative_base()
# Who is being served, as a web framework keeps it for each request.
served = ContextVar("served")


class Customer(Base):
    __tablename__ = "customers"
    id = Column(BigInteger, primary_key=True)
    name, email, phone = Column(Text), Column(Text), Column(Text)


class Ticket(Base):
    __tablename__ = "tickets"
    id = Column(BigInteger, primary_key=True)
    customer_id = Column(ForeignKey("customers.id"))
    assignee, subject, status = Column(Text), Column(Text), Column(Text, server_default="open")
    customer = relationship(Customer)
    messages = relationship("Message", order_by="Message.id")


class Message(Base):
    __tablename__ = "ticket_messages"
    id = Column(BigInteger, primary_key=True)
    ticket_id = Column(ForeignKey("tickets.id"))
    customer_id = Column(BigInteger)
    author, body = Column(Text), Column(Text)


engine = create_engine(URI, pool_size=2, max_overflow=0)

if NAMING == "comment":

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def comment(connection, cursor, statement, parameters, context, many):
        return f"{statement} /*user='{quote(served.get())}'*/", parameters


@event.listens_for(Session, "after_begin")
def say_who(session, transaction, connection):
    if NAMING == "setting":
        connection.execute(text("SELECT set_config('app.agent', :person, true)"), {"person": served.get()})
    if NAMING == "role":
        connection.execute(text(f'SET LOCAL ROLE "{served.get()}"'))


@contextmanager
def session_for(person):
    served.set(person)
    with Session(engine, expire_on_commit=False) as session:
        yield session


def customers(person, where):
    with session_for(person) as session:
        return [fields(one) for one in session.scalars(select(Customer).where(where).order_by(Customer.id))]


def fields(one):
    if isinstance(one, Customer):
        return {"id": one.id, "name": one.name, "email": one.email, "phone": one.phone}
    return {"id": one.id, "customer_id": one.customer_id, "subject": one.subject, "status": one.status}


def with_messages(one):
    return {**fields(one), "messages": [[m.id, m.body] for m in one.messages]}


def queue(person, limit, offset):
    with session_for(person) as session:
        page = select(Ticket).where(Ticket.assignee == person, Ticket.status == "open").order_by(Ticket.id).limit(limit).offset(offset)
        tickets = session.scalars(page.options(joinedload(Ticket.customer)))
        return [{**fields(one), "customer": fields(one.customer)} for one in tickets]


def ticket(person, id):
    with session_for(person) as session:
        # Lazily, as most programs have it.
        one = session.get(Ticket, id)
        return {**with_messages(one), "customer": fields(one.customer)}


def tickets(person, ids):
    with session_for(person) as session:
        found = session.scalars(select(Ticket).where(Ticket.id.in_(ids)).order_by(Ticket.id).options(selectinload(Ticket.messages)))
        return [with_messages(one) for one in found]


def note(person, id, body):
    with session_for(person) as session:
        one = session.get(Ticket, id)
        session.add(Message(ticket_id=one.id, customer_id=one.customer_id, author="agent", body=body))
        session.commit()
        return fields(one)


def close(person, id):
    with session_for(person) as session:
        one = session.get(Ticket, id)
        one.status = "closed"
        session.commit()
        session.refresh(one)
        return fields(one)


def counts(person):
    with session_for(person) as session:
        found = session.execute(select(Ticket.status, func.count()).where(Ticket.assignee == person).group_by(Ticket.status).order_by(Ticket.status))
        return [list(row) for row in found]


def fail(person, id):
    with session_for(person) as session:
        shown = fields(session.get(Customer, id))
        state = failing(lambda: session.execute(text("SELECT 1 / 0")))
        session.rollback()
        return {"state": state, "shown": shown}


def lock(person, id):
    with session_for(person) as session:
        one = session.execute(select(Ticket.id, Ticket.customer_id).where(Ticket.id == id).with_for_update()).one()
        return {"id": one.id, "customer_id": one.customer_id}


day(
    {
        "queue": queue,
        "find": lambda person, email: customers(person, Customer.email == email),
        "findAnyCase": lambda person, email: customers(person, func.lower(Customer.email) == email.lower()),
        "findSeveral": lambda person, emails: customers(person, Customer.email.in_(emails)),
        "findByPhone": lambda person, phone: customers(person, Customer.phone == phone),
        "ticket": ticket,
        "tickets": tickets,
        "note": note,
        "close": close,
        "counts": counts,
        "fail": fail,
        "lock": lock,
    }
)
engine.dispose()
