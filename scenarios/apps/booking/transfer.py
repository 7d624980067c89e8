"""Moves an amount from one account to another: reads both balances, and writes them back.

With --retry it begins anew when the database has failed; with --key a request that was carried out is not carried out again.
"""

import argparse
import sys

import psycopg
from db import connection


def transfer(source, target, amount, lock="", key=None):
    with connection().transaction():
        run = connection().execute
        new = "INSERT INTO requests (key) VALUES (%s) ON CONFLICT DO NOTHING RETURNING key"
        if key is not None and run(new, [key]).fetchone() is None:
            return True
        query = f"SELECT id, balance FROM accounts WHERE id IN (%s, %s) ORDER BY id {lock}"
        balances = dict(run(query, [source, target]).fetchall())
        if balances[source] < amount:
            return False
        for account, balance in ((source, balances[source] - amount), (target, balances[target] + amount)):
            run("UPDATE accounts SET balance = %s WHERE id = %s", [balance, account])
        run("INSERT INTO transfers (source, target, amount) VALUES (%s, %s, %s)", [source, target, amount])
        return True


def with_retries(retries, *arguments):
    for retry in range(retries + 1):
        try:
            return transfer(*arguments)
        except psycopg.OperationalError:
            if retry == retries:
                raise
            if connection().closed:
                connection.cache_clear()


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="source", type=int, required=True)
    parser.add_argument("--to", dest="target", type=int, required=True)
    parser.add_argument("--amount", type=int, default=30)
    parser.add_argument("--lock", action="store_const", const="FOR UPDATE", default="")
    parser.add_argument("--retry", type=int, default=0)
    parser.add_argument("--key")
    asked = parser.parse_args(arguments)
    if not with_retries(asked.retry, asked.source, asked.target, asked.amount, asked.lock, asked.key):
        sys.exit(3)


if __name__ == "__main__":
    main()
