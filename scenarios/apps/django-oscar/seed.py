"""Two articles, and two baskets that hold both: one in this order, one in the other."""

import os
from decimal import Decimal

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from django.contrib.sites.models import Site  # noqa: E402
from oscar.apps.partner.strategy import Default  # noqa: E402
from oscar.core.loading import get_model  # noqa: E402

Site.objects.get_or_create(id=1, defaults={"domain": "example.org", "name": "Example"})
kind = get_model("catalogue", "ProductClass").objects.create(name="Book", requires_shipping=False)
partner = get_model("partner", "Partner").objects.create(name="Printer")
articles = []
for title in ("Atlas", "Bestiary"):
    article = get_model("catalogue", "Product").objects.create(title=title, product_class=kind)
    partner.stockrecords.create(product=article, partner_sku=title, price=Decimal(10), num_in_stock=10)
    articles.append(article)
for order in (articles, articles[::-1]):
    basket = get_model("basket", "Basket").objects.create()
    basket.strategy = Default()
    for article in order:
        basket.add_product(article)
