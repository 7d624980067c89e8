"""Takes pieces of an article off the stock."""

import argparse
import functools
import os
import sys

from sqlalchemy import CheckConstraint, ForeignKey, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Article(Base):
    __tablename__ = "articles"
    __table_args__ = (CheckConstraint("stock >= 0"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    stock: Mapped[int]


class Sale(Base):
    __tablename__ = "sales"
    id: Mapped[int] = mapped_column(primary_key=True)
    article_id: Mapped[int] = mapped_column(ForeignKey("articles.id"))
    pieces: Mapped[int]


@functools.cache
def engine():
    url = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg")
    return create_engine(url, use_native_hstore=False, connect_args={"prepare_threshold": None})


def sell(article_id, pieces, lock):
    with Session(engine()) as session, session.begin():
        article = session.get(Article, article_id, with_for_update=lock or None)
        if article.stock < pieces:
            return False
        article.stock -= pieces
        session.add(Sale(article_id=article_id, pieces=pieces))
        return True


def setup():
    Base.metadata.create_all(engine())
    with Session(engine()) as session, session.begin():
        session.add(Article(id=1, stock=10))


def main(arguments=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("--setup", action="store_true")
    parser.add_argument("--article", type=int, default=1)
    parser.add_argument("--pieces", type=int, default=4)
    parser.add_argument("--lock", action="store_true")
    asked = parser.parse_args(arguments)
    if asked.setup:
        setup()
    elif not sell(asked.article, asked.pieces, asked.lock):
        sys.exit(3)


if __name__ == "__main__":
    main()
