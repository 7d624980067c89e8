"""A mail that waits to be sent."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from django.core.mail import send_mail  # noqa: E402

send_mail("Your bill", "It is attached.", "shop@example.org", ["ada@example.org"])
