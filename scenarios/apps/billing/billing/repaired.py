import logging

from django.db import transaction

from .drift import drifts
from .models import Customer, Event, Run

log = logging.getLogger(__name__)


def recompute(customer_id, run_id):
    """Writes the events of a customer whose payers drift, once for each run (or once, where no run asks)."""
    try:
        with transaction.atomic():
            customer = Customer.objects.select_for_update().get(pk=customer_id)
            if Event.objects.filter(customer=customer, run_id=run_id).exists():
                return
            for payer, drift in drifts(customer):
                Event.objects.create(customer=customer, run_id=run_id, payer=payer, drift=drift)
            if run_id:
                Run.objects.filter(pk=run_id).update(state="done")
    except Exception:
        log.exception("run %s", run_id)
        Run.objects.filter(pk=run_id).exclude(state="done").update(state="failed")
        raise
