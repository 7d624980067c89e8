//! The generator's own connections prove who they are in each way that a server may want.

use std::time::Duration;

use driftlock::capacity::wire::Wire;
use driftlock::provision::{PostgresChoice, Profile, RunName, Server, StartOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio_postgres::Config;
use tokio_util::sync::CancellationToken;

/// Each role, how its password is stored, and how the server wants it.
const ROLES: [(&str, &str, &str); 4] = [
    ("by_md5", "md5", "md5"),
    ("by_scram", "scram-sha-256", "scram-sha-256"),
    ("by_word", "scram-sha-256", "password"),
    ("by_trust", "scram-sha-256", "trust"),
];

async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

/// When the server read its rules, as whoever connects now finds them.
async fn rules_read_at(options: &PgConnectOptions) -> String {
    let mut connection = PgConnection::connect_with(options).await.unwrap();
    let at = sqlx::query_scalar("SELECT pg_conf_load_time()::text").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    at
}

/// Makes the roles, and has the server want their passwords.
async fn want_passwords(options: &PgConnectOptions) {
    let mut connection = PgConnection::connect_with(options).await.unwrap();
    let file: String = sqlx::query_scalar("SHOW hba_file").fetch_one(&mut connection).await.unwrap();
    let mut rules = "local all all trust\n".to_owned();
    for (role, stored, wanted) in ROLES {
        let created = format!("CREATE ROLE {role} LOGIN PASSWORD 'a secret'");
        run(&mut connection, format!("SET password_encryption = '{stored}'; {created}")).await;
        rules.push_str(&format!("host all {role} 127.0.0.1/32 {wanted}\n"));
    }
    std::fs::write(file, rules).unwrap();
    let before = rules_read_at(options).await;
    run(&mut connection, "SELECT pg_reload_conf()".to_owned()).await;
    connection.close().await.unwrap();
    for _ in 0..200 {
        if rules_read_at(options).await != before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the server has not read its rules again");
}

async fn signs_in(config: &Config) -> Result<(), Option<String>> {
    Wire::open(config).await.map(drop).map_err(|error| error.code)
}

#[tokio::test]
async fn every_way_of_proving_a_password_is_taken_by_a_server_and_a_wrong_one_by_none() {
    let (choice, name) = (PostgresChoice::Local, RunName::new(&format!("sign-in-{}", std::process::id())).unwrap());
    let options = StartOptions { choice, pg_bin: None, profile: Profile::Fast, tcp: true };
    let server = Server::start(&options, &name, &CancellationToken::new()).await.unwrap();
    let database = server.create_database("given", None).await.unwrap();
    let reached: Config = server.access(&database).unwrap().expose().parse().unwrap();
    want_passwords(&server.connect_options(&database)).await;
    for (role, ..) in ROLES {
        let mut config = reached.clone();
        config.user(role).password("a secret");
        assert_eq!(signs_in(&config).await, Ok(()), "{role}");
        config.password("another one");
        let expected = if role == "by_trust" { Ok(()) } else { Err(Some("28P01".to_owned())) };
        assert_eq!(signs_in(&config).await, expected, "{role}");
    }
    server.stop().await.unwrap();
}
