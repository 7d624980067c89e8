"""Sends the mails that wait, as a host's cron job does: manage.py send_mail."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from mailer.engine import send_all  # noqa: E402


def main(arguments=None):
    send_all()


if __name__ == "__main__":
    main()
