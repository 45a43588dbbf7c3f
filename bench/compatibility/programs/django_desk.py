import django
from django.conf import settings
from steps import EMAIL, PLACE, failing, step

settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": PLACE.path[1:],
            "USER": PLACE.username,
            "PASSWORD": PLACE.password,
            "HOST": PLACE.hostname,
            "PORT": PLACE.port,
        }
    },
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.contrib.postgres.aggregates import ArrayAgg  # noqa: E402
from django.core.paginator import Paginator  # noqa: E402
from django.db import connection, models, transaction  # noqa: E402


class Customer(models.Model):
    name = models.TextField()
    email = models.TextField(unique=True)
    phone = models.TextField(null=True)
    country = models.TextField()

    class Meta:
        app_label, db_table, managed = "desk", "customers", False


class Ticket(models.Model):
    customer = models.ForeignKey(Customer, models.CASCADE, related_name="tickets")
    assignee = models.TextField(null=True)
    subject = models.TextField()
    note = models.TextField(null=True)
    status = models.TextField(default="open")

    class Meta:
        app_label, db_table, managed = "desk", "tickets", False


class Message(models.Model):
    ticket = models.ForeignKey(Ticket, models.CASCADE, related_name="messages")
    author = models.TextField()
    body = models.TextField()

    class Meta:
        app_label, db_table, managed = "desk", "ticket_messages", False


@step("select_related")
def _():
    return [(t.id, t.note, t.customer.email) for t in Ticket.objects.select_related("customer").filter(status="open").order_by("id")[:20]]


@step("get by e-mail")
def _():
    return Customer.objects.filter(email=EMAIL).values().get()


@step("iexact")
def _():
    return list(Customer.objects.filter(email__iexact=EMAIL).values())


@step("in")
def _():
    return list(Customer.objects.filter(email__in=[EMAIL, "customer.8@example.com"]).order_by("id").values())


@step("Q or Q")
def _():
    return list(Customer.objects.filter(models.Q(email=EMAIL) | models.Q(phone="+1 555 0109")).order_by("id").values())


@step("prefetch_related, two levels")
def _():
    tickets = Customer.objects.prefetch_related("tickets__messages").get(email=EMAIL).tickets.all()
    return sorted([t.id, sorted(m.body for m in t.messages.all())] for t in tickets)


@step("paginator")
def _():
    page = Paginator(Ticket.objects.order_by("id"), 25).page(2)
    return [page.paginator.count, len(page.object_list)]


@step("annotate and values")
def _():
    return list(Ticket.objects.values("status").annotate(n=models.Count("id")).order_by("status"))


@step("exists, count, first")
def _():
    tickets = Ticket.objects.filter(status="open").order_by("id")
    return [tickets.exists(), tickets.count(), tickets.first().id]


@step("subquery")
def _():
    last = Message.objects.filter(ticket=models.OuterRef("pk")).order_by("-id").values("body")[:1]
    return list(Ticket.objects.annotate(last=models.Subquery(last)).order_by("id").values("id", "last")[:10])


@step("ArrayAgg")
def _():
    return list(Message.objects.filter(ticket_id=7).values("ticket_id").annotate(bodies=ArrayAgg("body", ordering="id")))


@step("create")
def _():
    ticket = Ticket.objects.create(customer_id=7, subject="New")
    return [ticket.id, ticket.status]


@step("bulk_create")
def _():
    return len(Message.objects.bulk_create([Message(ticket_id=7, author="agent", body=f"b{n}") for n in range(10)]))


@step("save with update_fields")
def _():
    ticket = Ticket.objects.get(id=7)
    ticket.status = "closed"
    ticket.save(update_fields=["status"])
    return Ticket.objects.get(id=7).status


@step("save of all but the masked column")
def _():
    ticket = Ticket.objects.defer("note").get(id=7)
    ticket.status = "pending"
    ticket.save()
    return Ticket.objects.get(id=7).status


@step("save of all")
def _():
    ticket = Ticket.objects.get(id=8)
    ticket.status = "pending"
    ticket.save()
    return Ticket.objects.get(id=8).status


@step("update and F")
def _():
    return Ticket.objects.filter(id=9).update(status="closed", subject=models.F("status"))


@step("get_or_create")
def _():
    ticket, is_new = Ticket.objects.get_or_create(customer_id=7, subject="Found", defaults={"status": "open"})
    return [ticket.status, is_new]


@step("update_or_create")
def _():
    ticket, is_new = Ticket.objects.update_or_create(id=11, defaults={"status": "closed"})
    return [ticket.status, is_new]


@step("atomic, nested, select_for_update")
def _():
    with transaction.atomic():
        ticket = Ticket.objects.select_for_update().defer("note").get(id=12)

        def wrong():
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")

        code = failing(wrong)
        Ticket.objects.filter(id=12).update(status="pending")
    return [code, ticket.id]


@step("iterator")
def _():
    return sum(1 for _ in Ticket.objects.order_by("id")[:90].iterator(chunk_size=20))


@step("delete")
def _():
    return Message.objects.filter(ticket_id=7, author="agent").delete()[0]


@step("explain")
def _():
    return len(Ticket.objects.filter(id=7).explain()) > 0


@step("unique violation")
def _():
    return failing(lambda: Ticket.objects.create(id=1, customer_id=2, subject="x"))


@step("introspection")
def _():
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        columns = connection.introspection.get_table_description(cursor, "customers")
        keys = connection.introspection.get_constraints(cursor, "tickets")
        own = [name for name in names if name in ("customers", "tickets", "ticket_messages")]
        return [own, [column.name for column in columns], sorted(keys)]
