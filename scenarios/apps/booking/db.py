import functools
import os

import psycopg


@functools.cache
def connection():
    return psycopg.connect(os.environ["DATABASE_URL"], prepare_threshold=None)
