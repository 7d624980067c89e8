"""Books a seat for a customer, if it is free."""

import argparse
import sys

from db import connection


def book(seat, customer, lock=""):
    with connection().transaction():
        run = connection().execute
        (taken,) = run(f"SELECT taken FROM seats WHERE id = %s {lock}", [seat]).fetchone()
        if taken:
            return "taken"
        run("UPDATE seats SET taken = true WHERE id = %s", [seat])
        run("INSERT INTO bookings (seat, customer) VALUES (%s, %s)", [seat, customer])
        return "booked"


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seat", type=int, required=True)
    parser.add_argument("--for", dest="customer", required=True)
    parser.add_argument("--lock", action="store_const", const="FOR UPDATE", default="")
    asked = parser.parse_args(arguments)
    if book(asked.seat, asked.customer, asked.lock) == "taken":
        sys.exit(3)


if __name__ == "__main__":
    main()
