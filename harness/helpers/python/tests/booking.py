"""Two ways to book a seat, and what is there before."""

import os

import psycopg


def schema():
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("CREATE TABLE seats (id int PRIMARY KEY)")
        connection.execute("INSERT INTO seats VALUES (1)")
        connection.execute("CREATE TABLE bookings (id serial PRIMARY KEY, seat int, passenger text)")


def book(actor):
    return _book(actor, "SELECT id FROM seats WHERE id = 1")


def book_locked(actor):
    return _book(actor, "SELECT id FROM seats WHERE id = 1 FOR UPDATE")


async def book_soon(actor):
    return book(actor)


def _book(actor, seat):
    print("what a function prints is no answer")
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(seat)
        if connection.execute("SELECT count(*) FROM bookings WHERE seat = 1").fetchone()[0]:
            return "taken"
        connection.execute("INSERT INTO bookings (seat, passenger) VALUES (1, %s)", [actor])
    return "booked"


def cancel():
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute("DELETE FROM bookings WHERE seat = 1")


def book_or_fail(actor):
    if book_locked(actor) == "taken":
        raise ValueError("the seat is taken")


def fail():
    raise ValueError("no such passenger")
