from django.db.models import Avg, Case, F, FloatField, Q, Value, When

from .models import Claim


def drifts(customer):
    """The payers of a customer that deny more often this month than before, and by how many percent."""
    denied = Case(When(denied=True, then=Value(100.0)), default=Value(0.0), output_field=FloatField())
    this_month = Q(month="2026-04-01")
    return (
        Claim.objects.filter(customer=customer)
        .values("payer")
        .annotate(now=Avg(denied, filter=this_month), before=Avg(denied, filter=~this_month))
        .filter(now__gt=F("before"))
        .order_by("payer")
        .values_list("payer", F("now") - F("before"))
    )
