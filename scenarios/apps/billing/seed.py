"""One customer, three payers, two of which deny more than they did."""

import datetime
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from billing.models import Claim, Customer, Run  # noqa: E402

DENIED = {"Aster": (2, 6), "Birch": (5, 5), "Cedar": (1, 4)}  # of ten claims: in March, in April

customer = Customer.objects.create(id=1, name="Clinic")
Run.objects.create(id=7, customer=customer)
Claim.objects.bulk_create(
    Claim(customer=customer, payer=payer, month=datetime.date(2026, month, 1), denied=claim < denied)
    for payer, counts in DENIED.items()
    for month, denied in zip((3, 4), counts)
    for claim in range(10)
)
