"""Subscribes an address; whoever is there already stays as is."""

import argparse
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from shop.models import Subscriber  # noqa: E402


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("email")
    parser.add_argument("--source", required=True)
    asked = parser.parse_args(arguments)
    Subscriber.objects.get_or_create(email=asked.email, defaults={"source": asked.source})


if __name__ == "__main__":
    main()
