"""The same booking behind HTTP: POST /book {"seat": 1, "for": "Ada"} answers 200, or 409 where the seat is taken."""

import json
import os

from book import book

LOCK = os.environ.get("LOCK", "")


def wsgi(environ, start_response):
    if environ["PATH_INFO"] == "/health":
        status, said = "200 OK", "up"
    elif (environ["REQUEST_METHOD"], environ["PATH_INFO"]) == ("POST", "/book"):
        asked = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        said = book(asked["seat"], asked["for"], LOCK)
        status = "200 OK" if said == "booked" else "409 Conflict"
    else:
        status, said = "404 Not Found", "not here"
    body = json.dumps(said).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
