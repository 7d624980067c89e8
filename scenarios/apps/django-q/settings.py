from django_database import DATABASES  # noqa: F401

SECRET_KEY = "signs the tasks of this example, and nothing else"
INSTALLED_APPS = ["django_q"]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
USE_TZ = True
TIME_ZONE = "UTC"
Q_CLUSTER = {"name": "shop", "orm": "default", "catch_up": False}
