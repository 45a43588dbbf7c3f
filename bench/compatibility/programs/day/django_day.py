from contextlib import ExitStack, contextmanager
from urllib.parse import quote

import django
from django.conf import settings

from day import NAMING, PLACE, day, failing

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": PLACE.path[1:],
            "USER": PLACE.username,
            "PASSWORD": PLACE.password,
            "HOST": PLACE.hostname,
            "PORT": PLACE.port,
            # As docs/pooling.md says.
            "DISABLE_SERVER_SIDE_CURSORS": True,
        }
    },
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.db import connection, models, transaction  # noqa: E402


class Customer(models.Model):
    name, email, phone = models.TextField(), models.TextField(), models.TextField()

    class Meta:
        app_label, db_table, managed = "desk", "customers", False


class Ticket(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="tickets")
    assignee = models.TextField(null=True)
    subject = models.TextField()
    status = models.TextField(default="open")

    class Meta:
        app_label, db_table, managed = "desk", "tickets", False


class Message(models.Model):
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="messages")
    customer_id = models.BigIntegerField()
    author, body = models.TextField(), models.TextField()

    class Meta:
        app_label, db_table, managed = "desk", "ticket_messages", False


def commented(person):
    """What sqlcommenter's middleware for Django does, with the user beside the route."""

    def wrapper(execute, sql, params, many, context):
        remark = f" /*controller='tickets',framework='django%%3A3.2.25',user='{quote(person).replace('%', '%%')}'*/"
        return execute(sql + (remark if params is not None else remark.replace("%%", "%")), params, many, context)

    return connection.execute_wrapper(wrapper)


@contextmanager
def request_of(person):
    """A request, as middleware around a view makes it (ATOMIC_REQUESTS where a setting names the person)."""
    with ExitStack() as stack:
        if NAMING == "comment":
            stack.enter_context(commented(person))
        elif NAMING != "none":
            stack.enter_context(transaction.atomic())
            with connection.cursor() as cursor:
                if NAMING == "setting":
                    cursor.execute("SELECT set_config('app.agent', %s, true)", [person])
                if NAMING == "role":
                    cursor.execute(f'SET LOCAL ROLE "{person}"')
        yield


def fields(one):
    if isinstance(one, Customer):
        return {"id": one.id, "name": one.name, "email": one.email, "phone": one.phone}
    return {"id": one.id, "customer_id": one.customer_id, "subject": one.subject, "status": one.status}


def with_messages(one):
    return {**fields(one), "messages": sorted([m.id, m.body] for m in one.messages.all())}


def customers(person, **where):
    with request_of(person):
        return [fields(one) for one in Customer.objects.filter(**where).order_by("id")]


def queue(person, limit, offset):
    with request_of(person):
        page = Ticket.objects.select_related("customer").filter(assignee=person, status="open").order_by("id")[offset : offset + limit]
        return [{**fields(one), "customer": fields(one.customer)} for one in page]


def ticket(person, id):
    with request_of(person):
        one = Ticket.objects.get(id=id)
        return {**with_messages(one), "customer": fields(one.customer)}


def tickets(person, ids):
    with request_of(person):
        return [with_messages(one) for one in Ticket.objects.prefetch_related("messages").filter(id__in=ids).order_by("id")]


def note(person, id, body):
    with request_of(person):
        one = Ticket.objects.get(id=id)
        Message.objects.create(ticket=one, customer_id=one.customer_id, author="agent", body=body)
        return fields(one)


def close(person, id):
    with request_of(person):
        one = Ticket.objects.get(id=id)
        one.status = "closed"
        one.save(update_fields=["status"])
        one.refresh_from_db()
        return fields(one)


def counts(person):
    with request_of(person):
        return list(Ticket.objects.filter(assignee=person).values("status").annotate(n=models.Count("id")).order_by("status"))


def fail(person, id):
    with request_of(person):
        shown = fields(Customer.objects.get(id=id))

        def wrong():
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")

        return {"state": failing(wrong), "shown": shown}


def lock(person, id):
    with request_of(person), transaction.atomic():
        return Ticket.objects.select_for_update().values("id", "customer_id").get(id=id)


day(
    {
        "queue": queue,
        "find": lambda person, email: customers(person, email=email),
        "findAnyCase": lambda person, email: customers(person, email__iexact=email),
        "findSeveral": lambda person, emails: customers(person, email__in=emails),
        "findByPhone": lambda person, phone: customers(person, phone=phone),
        "ticket": ticket,
        "tickets": tickets,
        "note": note,
        "close": close,
        "counts": counts,
        "fail": fail,
        "lock": lock,
    },
    at_end=connection.close,
)
