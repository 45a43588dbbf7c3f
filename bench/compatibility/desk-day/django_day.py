import django
from django.conf import settings
from plan import PLACE, day

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
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
)
django.setup()

from django.db import connection, models  # noqa: E402


class Customer(models.Model):
    name = models.TextField()

    class Meta:
        app_label, db_table, managed = "desk", "customers", False


def read(person, first, last):
    # As sqlcommenter's middleware does (google.github.io/sqlcommenter/python/django).
    def commented(execute, sql, params, many, context):
        return execute(f"{sql} /*framework='django',user='{person}'*/", params, many, context)

    with connection.execute_wrapper(commented):
        return list(Customer.objects.filter(id__range=(first, last)).values_list("id", flat=True))


day(read)
