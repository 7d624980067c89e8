import atexit
import os
import tempfile

from django_database import DATABASES  # noqa: F401

SECRET_KEY = "for this example, which signs nothing"
INSTALLED_APPS = ["mailer"]
USE_I18N = False
USE_TZ = False
TIME_ZONE = "UTC"
EMAIL_BACKEND = "mailer.backend.DbBackend"
MAILER_EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"

# The lock file of a host: each process here stands for a host of its own.
host = tempfile.TemporaryDirectory()
atexit.register(host.cleanup)
MAILER_LOCK_PATH = os.path.join(host.name, "send_mail")
