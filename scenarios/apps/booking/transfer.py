"""Moves an amount from one account to another: reads both balances, and writes them back."""

import argparse
import sys

from db import connection


def transfer(source, target, amount, lock=""):
    with connection().transaction():
        run = connection().execute
        query = f"SELECT id, balance FROM accounts WHERE id IN (%s, %s) ORDER BY id {lock}"
        balances = dict(run(query, [source, target]).fetchall())
        if balances[source] < amount:
            return False
        for account, balance in ((source, balances[source] - amount), (target, balances[target] + amount)):
            run("UPDATE accounts SET balance = %s WHERE id = %s", [balance, account])
        run("INSERT INTO transfers (source, target, amount) VALUES (%s, %s, %s)", [source, target, amount])
        return True


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="source", type=int, required=True)
    parser.add_argument("--to", dest="target", type=int, required=True)
    parser.add_argument("--amount", type=int, default=30)
    parser.add_argument("--lock", action="store_const", const="FOR UPDATE", default="")
    asked = parser.parse_args(arguments)
    if not transfer(asked.source, asked.target, asked.amount, asked.lock):
        sys.exit(3)


if __name__ == "__main__":
    main()
