"""The job, as a scheduler starts it."""

import argparse
import importlib
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--customer", type=int, default=1)
    parser.add_argument("--run", type=int)
    asked = parser.parse_args(arguments)
    jobs = importlib.import_module("billing." + os.environ.get("BILLING_JOBS", "jobs"))
    jobs.recompute(asked.customer, asked.run)


if __name__ == "__main__":
    main()
