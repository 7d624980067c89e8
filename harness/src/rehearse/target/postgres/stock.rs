//! sqlx's own migrator as runner: with its advisory lock, which waits with a snapshot, and its own transactions.

use std::borrow::Cow;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;

use drift_engine::postgres::classify;
use drift_engine::session::{DbError, ErrorClass, Kind};
use sqlx::migrate::{Migrate, MigrateError, MigrationType, Migrator};
use sqlx::{Acquire, AssertSqlSafe, Connection, PgConnection, SqlSafeStr};

use crate::database::postgres::PgDatabase;
use crate::rehearse::migrations::{Migrations, Script, Version};

/// A future of sqlx's migrator. Boxed: only behind a named lifetime does the compiler see that it is `Send`.
type Migrating<'a> = Pin<Box<dyn Future<Output = Result<(), MigrateError>> + Send + 'a>>;

/// sqlx's migrator over the files of a directory.
#[derive(Clone, Debug)]
pub struct Stock {
    migrator: Arc<Migrator>,
    /// Whether an event trigger may be made: only where the whole server is thrown away.
    pub may_trigger: bool,
}

fn to<'a, C>(migrator: &'a Migrator, target: i64, connection: &'a mut C) -> Migrating<'a>
where
    &'a mut C: Acquire<'a>,
    <<&'a mut C as Acquire<'a>>::Connection as Deref>::Target: Migrate + Send,
    C: Send,
{
    Box::pin(migrator.run_to(target, connection))
}

fn back_to<'a, C>(migrator: &'a Migrator, target: i64, connection: &'a mut C) -> Migrating<'a>
where
    &'a mut C: Acquire<'a>,
    <<&'a mut C as Acquire<'a>>::Connection as Deref>::Target: Migrate + Send,
    C: Send,
{
    Box::pin(migrator.undo(connection, target))
}

fn marked<'a, C>(migrator: &'a Migrator, target: i64, connection: &'a mut C) -> Migrating<'a>
where
    &'a mut C: Acquire<'a>,
    <<&'a mut C as Acquire<'a>>::Connection as Deref>::Target: Migrate + Send,
    C: Send,
{
    Box::pin(migrator.skip(connection, Some(target)))
}

impl Stock {
    /// The migrator over these migrations.
    pub fn of(migrations: &Migrations, may_trigger: bool) -> Self {
        let list = migrations.list.iter().flat_map(|migration| {
            let version = number(&migration.version);
            let one = |kind, script: &Script| {
                let sql = AssertSqlSafe(script.text.clone()).into_sql_str();
                let description = Cow::Owned(migration.description.clone());
                sqlx::migrate::Migration::new(version, description, kind, sql, !script.in_transaction())
            };
            let up = if migration.down.is_some() { MigrationType::ReversibleUp } else { MigrationType::Simple };
            let down = migration.down.as_ref().map(|down| one(MigrationType::ReversibleDown, down));
            std::iter::once(one(up, &migration.up)).chain(down)
        });
        Self { migrator: Arc::new(Migrator::with_migrations(list.collect())), may_trigger }
    }

    /// Records the versions up to `target` as applied.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn mark(&self, database: &PgDatabase, target: &Version) -> Result<(), DbError> {
        let mut connection = connect(database).await?;
        marked(&self.migrator, number(target), &mut connection).await.map_err(told)?;
        let _ = connection.close().await;
        Ok(())
    }

    /// Goes up to a version, on a connection of its own, as a call of the program would.
    ///
    /// # Errors
    /// How sqlx's migrator failed.
    pub async fn up(&self, database: &PgDatabase, target: &Version) -> Result<(), DbError> {
        let mut connection = connect(database).await?;
        let went = to(&self.migrator, number(target), &mut connection).await.map_err(told);
        // After an error it has not given its lock back: the end of the session does.
        let _ = connection.close().await;
        went
    }

    /// Goes back to a version.
    ///
    /// # Errors
    /// How sqlx's migrator failed.
    pub async fn down(&self, database: &PgDatabase, target: &Version) -> Result<(), DbError> {
        let mut connection = connect(database).await?;
        let went = back_to(&self.migrator, number(target), &mut connection).await.map_err(told);
        let _ = connection.close().await;
        went
    }
}

/// A version as sqlx has it.
fn number(version: &Version) -> i64 {
    version.number().expect("sqlx's migrator is given sqlx's versions only")
}

/// A session that is not taken for one of ours.
async fn connect(database: &PgDatabase) -> Result<PgConnection, DbError> {
    let mut connection = database.plain().await?;
    let settings = "SET application_name = 'sqlx migrate'; SET statement_timeout = '120s'";
    let set = sqlx::raw_sql(settings).execute(&mut connection).await;
    set.map_err(|error| classify(error, Kind::Begin))?;
    Ok(connection)
}

fn told(error: MigrateError) -> DbError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(error, Kind::Write),
        other => DbError { class: ErrorClass::Other, code: None, message: other.to_string(), during: Kind::Write },
    }
}
