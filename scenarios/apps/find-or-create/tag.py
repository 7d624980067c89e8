"""Tag.find_or_create_by(name: …), as the SQL that Rails 7.1 sends."""

import argparse

import psycopg.errors
from db import connection

FIND = "SELECT tags.* FROM tags WHERE tags.name = %s LIMIT %s"
CREATE = "INSERT INTO tags (name, created_at, updated_at) VALUES (%s, now(), now()) RETURNING id"


def find(name):
    return connection().execute(FIND, [name, 1]).fetchone()


def create(name):
    with connection().transaction():
        return connection().execute(CREATE, [name]).fetchone()


def create_or_find_by(name):
    try:
        return create(name)
    except psycopg.errors.UniqueViolation:
        return find(name)


def find_or_create_by(name):
    return find(name) or create_or_find_by(name)


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    asked = parser.parse_args(arguments)
    connection().autocommit = True
    find_or_create_by(asked.name)


if __name__ == "__main__":
    main()
