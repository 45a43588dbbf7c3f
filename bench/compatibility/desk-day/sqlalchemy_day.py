from contextvars import ContextVar

from plan import URI, day
from sqlalchemy import BigInteger, Column, create_engine, event, select
from sqlalchemy.orm import Session, declarative_base

Base = declarative_base()
person_now = ContextVar("person", default="")


class Customer(Base):
    __tablename__ = "customers"
    id = Column(BigInteger, primary_key=True)


engine = create_engine(URI.replace("postgresql:", "postgresql+psycopg2:"), pool_size=2, max_overflow=0)


# As sqlcommenter of OpenTelemetry's instrumentation does.
@event.listens_for(engine, "before_cursor_execute", retval=True)
def commented(connection, cursor, statement, parameters, context, executemany):
    return f"{statement} /*db_driver='psycopg2',user='{person_now.get()}'*/", parameters


def read(person, first, last):
    person_now.set(person)
    with Session(engine) as session:
        return session.scalars(select(Customer.id).where(Customer.id.between(first, last))).all()


day(read)
