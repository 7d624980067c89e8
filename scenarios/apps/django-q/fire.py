"""Queues what is due, as the scheduler of a cluster does every half minute."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from django_q.brokers import get_broker  # noqa: E402
from django_q.cluster import scheduler  # noqa: E402


def main(arguments=None):
    scheduler(broker=get_broker())


if __name__ == "__main__":
    main()
