//! One layout a file: how it is recognised, how its files are read, and how its tool says "no transaction".

pub(super) mod dbmate;
pub(super) mod diesel;
pub(super) mod drizzle;
pub(super) mod flyway;
mod folders;
pub(super) mod golang_migrate;
pub(super) mod goose;
pub(super) mod hasura;
pub(super) mod named;
pub(super) mod node_pg_migrate;
mod pairs;
pub(super) mod plain;
pub(super) mod pop;
pub(super) mod prisma;
pub(super) mod refinery;
pub(super) mod sqlx;
pub(super) mod tern;
pub(super) mod yoyo;
