from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=100, unique=True)


class Claim(models.Model):
    """A bill that a payer has decided on."""

    customer = models.ForeignKey(Customer, models.CASCADE)
    payer = models.CharField(max_length=100)
    month = models.DateField()
    denied = models.BooleanField()


class Run(models.Model):
    """A recompute that somebody has asked for."""

    customer = models.ForeignKey(Customer, models.CASCADE)
    state = models.CharField(max_length=10, default="asked")


class Event(models.Model):
    """The payer denies more than it did."""

    customer = models.ForeignKey(Customer, models.CASCADE)
    run = models.ForeignKey(Run, models.CASCADE, null=True)
    payer = models.CharField(max_length=100)
    drift = models.DecimalField(max_digits=6, decimal_places=2)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["customer", "run", "payer"], name="event_key")]
