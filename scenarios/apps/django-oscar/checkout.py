"""Places the order for a basket."""

import argparse
import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django.setup()

from oscar.apps.order.utils import OrderCreator  # noqa: E402
from oscar.apps.partner.strategy import Default  # noqa: E402
from oscar.apps.shipping.methods import NoShippingRequired  # noqa: E402
from oscar.core import prices  # noqa: E402
from oscar.core.loading import get_model  # noqa: E402


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("basket", help="its number, maybe at the end of a name")
    number = int(parser.parse_args(arguments).basket.rpartition("-")[2])
    basket = get_model("basket", "Basket").objects.get(pk=number)
    basket.strategy = Default()
    total = prices.Price(currency=basket.currency, excl_tax=basket.total_excl_tax, incl_tax=basket.total_excl_tax)
    shipping = NoShippingRequired()
    OrderCreator().place_order(basket, total, shipping, shipping.calculate(basket), order_number=str(number))


if __name__ == "__main__":
    main()
