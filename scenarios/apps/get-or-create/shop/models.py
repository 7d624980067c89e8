import os

from django.db import models

UNIQUE = os.environ.get("UNIQUE") == "yes"


class Subscriber(models.Model):
    email = models.EmailField(unique=UNIQUE)
    source = models.CharField(max_length=100)
