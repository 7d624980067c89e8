"""A schedule that is due."""

import datetime
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from django.utils import timezone  # noqa: E402
from django_q.tasks import schedule  # noqa: E402

due = timezone.now() - datetime.timedelta(minutes=1)
schedule("shop.jobs.charge", 1, schedule_type="D", next_run=due)
