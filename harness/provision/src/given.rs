//! A server that is already there: we work only in databases that we create, and drop only those.
//!
//! One session holds an advisory lock for as long as the run lives; its key is in every database's
//! name. A database is swept only when its name, and the mark that it was given at its creation, are
//! ours, and nobody on the whole server holds that lock. A connection pooler that hands one session
//! to several clients would break this; the URL must lead to the server itself.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::admin::{About, Admin, bounded, quoted};
use super::{GivenUrl, ProvisionError, RunName, Swept};

/// The connection limit that our databases are created with. It is no limit in practice; it is there
/// because it is the one mark that CREATE DATABASE sets in the same instant as the name.
const BIRTH_MARK: i32 = 1_417_071;
/// How long a server may take to answer at all before its databases are left to the next start's sweep.
const ANSWER: Duration = Duration::from_secs(3);
/// How long a drop may block on a given server.
const END: Duration = Duration::from_secs(30);

/// Our place on a given server. Dropping it drops the run's databases; that blocks, bounded.
pub(super) struct Given {
    url: GivenUrl,
    databases: Arc<Databases>,
    /// Holds the run's advisory lock, and is never used for anything else, so that nothing can close it.
    _owner: PgConnection,
}

/// What this run has created there.
pub(super) struct Databases {
    admin: Arc<Admin>,
    names: Mutex<BTreeSet<String>>,
}

impl Given {
    /// Connects, takes the run's lock, and sweeps what dead runs left on the server.
    ///
    /// Cancellation: nothing is left.
    pub(super) async fn start(
        url: &GivenUrl,
        run: &RunName,
    ) -> Result<(Self, Arc<Admin>, About, Swept), ProvisionError> {
        let admin = Arc::new(Admin::given(url)?);
        let about = admin.about().await?;
        if !(about.role.create_db || about.role.superuser) {
            return Err(ProvisionError::MayNotCreate { role: about.role.name, at: admin.place().to_owned() });
        }
        let mut owner = admin.connect().await?;
        let locked = async {
            // A lock that its owner's idleness ends would be no proof of life.
            let stay = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'";
            sqlx::query(stay).execute(&mut owner).await?;
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(run.lock_key()).fetch_one(&mut owner).await
        };
        if !bounded("take the run's advisory lock", admin.place(), locked).await? {
            let why = "somebody else holds it".to_owned();
            return Err(ProvisionError::Statement { what: "take the run's advisory lock".into(), why });
        }
        let swept = sweep(&admin).await?;
        let databases = Arc::new(Databases { admin: admin.clone(), names: Mutex::default() });
        Ok((Self { url: url.clone(), databases, _owner: owner }, admin, about, swept))
    }

    pub(super) fn url(&self) -> &GivenUrl {
        &self.url
    }

    pub(super) fn databases(&self) -> &Arc<Databases> {
        &self.databases
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if self.databases.lock().is_empty() {
            return;
        }
        // A drop cannot await, and the runtime may be gone: a thread with a runtime of its own, and a
        // connection of its own, since the other one belongs to the other runtime.
        let Ok(admin) = Admin::given(&self.url) else { return };
        let databases =
            Databases { admin: Arc::new(admin), names: Mutex::new(std::mem::take(&mut *self.databases.lock())) };
        let (done, wait) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = runtime.map(|runtime| runtime.block_on(databases.remove_all()));
            let _ = done.send(result);
        });
        match wait.recv_timeout(END) {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "cannot drop a database of this run"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot drop the databases of this run"),
            Err(_) => tracing::warn!("dropping the databases of this run takes too long"),
        }
    }
}

impl Databases {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        // A set of names is whole whatever its user was doing when it panicked.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a database with our marks on it.
    pub(super) async fn create(&self, name: &str, template: Option<&str>) -> Result<(), ProvisionError> {
        self.admin.create(name, template, &format!("CONNECTION LIMIT {BIRTH_MARK}")).await?;
        // Only now: one of that name that was there before is not ours to drop.
        self.lock().insert(name.to_owned());
        let statement = format!("COMMENT ON DATABASE {} IS '{}'", quoted(name), comment(name));
        self.admin.run(&format!("mark the database {name}"), statement).await
    }

    /// Drops a database that [`Databases::create`] created.
    pub(super) async fn remove(&self, name: &str) -> Result<(), ProvisionError> {
        if self.lock().contains(name) {
            self.admin.remove(name).await?;
            self.lock().remove(name);
        }
        Ok(())
    }

    /// Drops all of them; the first error is told, after all were tried. On a server that does not answer none is.
    pub(super) async fn remove_all(&self) -> Result<(), ProvisionError> {
        let names = self.lock().clone();
        if names.is_empty() {
            self.admin.close().await;
            return Ok(());
        }
        // A connection of its own: the other one may be in the middle of something that never ends.
        let late = || ProvisionError::Unreachable {
            at: self.admin.place().to_owned(),
            why: format!("no answer within {} s; the next start drops the databases of this run", ANSWER.as_secs()),
        };
        let answer = tokio::time::timeout(ANSWER, self.admin.connect()).await.unwrap_or_else(|_| Err(late()));
        if let Err(error) = answer {
            // Whoever drops this need not try again, and wait again.
            self.lock().clear();
            return Err(error);
        }
        let mut first = Ok(());
        for name in names {
            let removed = self.remove(&name).await;
            first = first.and(removed);
        }
        self.admin.close().await;
        first
    }
}

/// What a database of ours says of itself to whoever lists the server's databases.
fn comment(name: &str) -> String {
    format!("{name}: made by driftlock for one run; safe to drop when that is over")
}

/// Drops the databases of dead runs.
async fn sweep(admin: &Admin) -> Result<Swept, ProvisionError> {
    let mut held = admin.held().await?;
    // The list is read before the locks are looked at: whoever is in the list had his lock before.
    let candidates = sqlx::query(
        r"SELECT datname::text, shobj_description(oid, 'pg_database'), datconnlimit FROM pg_database
          WHERE datname LIKE 'driftlock\_%' AND pg_has_role(datdba, 'USAGE') ORDER BY datname",
    );
    let rows = admin.attended("list the databases", candidates.fetch_all(held.connection())).await?;
    held.done();
    let mut swept = Swept::default();
    for row in rows {
        let read = |row: &sqlx::postgres::PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let (name, said, limit): (String, Option<String>, i32) =
            read(&row).map_err(ProvisionError::statement("list the databases", admin.place()))?;
        let Some(run) = RunName::of_database(&name) else { continue };
        let marked = match said {
            Some(said) => said == comment(&name),
            None => limit == BIRTH_MARK,
        };
        if !marked {
            continue;
        }
        match drop_if_dead(admin, &name, run.lock_key()).await {
            Ok(false) => {}
            Ok(true) => swept.removed.push(format!("database {name}")),
            Err(error) => swept.kept.push(format!("database {name}: {error}")),
        }
    }
    Ok(swept)
}

async fn drop_if_dead(admin: &Admin, name: &str, key: i64) -> Result<bool, ProvisionError> {
    let mut held = admin.held().await?;
    // Advisory locks belong to a database, and the owner may have connected to another one than we
    // have: taking ours keeps other sweeps away, and the list of the whole server tells of the owner.
    let alone = sqlx::query_scalar::<_, bool>(
        "SELECT pg_try_advisory_lock($1) AND NOT EXISTS (
             SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND pid <> pg_backend_pid()
             AND (classid::bigint << 32) | objid::bigint = $1)",
    );
    let alone =
        admin.attended("look for the owner of a database", alone.bind(key).fetch_one(held.connection())).await?;
    held.done();
    let dropped = if alone {
        // Without FORCE: should somebody be in it after all, the server refuses.
        admin.run(&format!("drop the database {name}"), format!("DROP DATABASE IF EXISTS {}", quoted(name))).await
    } else {
        Ok(())
    };
    admin.run("release an advisory lock", format!("SELECT pg_advisory_unlock({key})")).await?;
    dropped.map(|()| alone)
}
