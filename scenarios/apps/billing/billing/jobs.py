import logging

from django.db import IntegrityError, transaction

from .drift import drifts
from .models import Customer, Event, Run

log = logging.getLogger(__name__)


def recompute(customer_id, run_id):
    """Writes the events of a customer whose payers drift, once for each run (or once, where no run asks)."""
    if Event.objects.filter(customer_id=customer_id, run_id=run_id).exists():
        return
    try:
        with transaction.atomic():
            customer = Customer.objects.select_for_update().get(pk=customer_id)
            for payer, drift in drifts(customer):
                try:
                    Event.objects.create(customer=customer, run_id=run_id, payer=payer, drift=drift)
                except IntegrityError:
                    log.info("%s of run %s is there", payer, run_id)
            if run_id:
                Run.objects.filter(pk=run_id).update(state="done")
    except Exception:
        log.exception("run %s", run_id)
        Event.objects.filter(run_id=run_id).delete()
        Run.objects.filter(pk=run_id).update(state="failed")
