//! PostgreSQL's own isolation suite, where `DRIFTLOCK_ISOLATION_SPECS` names its directory (the one
//! with `specs` and `expected`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use driftlock_isolation::Target;

use super::{server, transcript};

const VARIABLE: &str = "DRIFTLOCK_ISOLATION_SPECS";
/// What isolationtester itself reaches when it is started bare.
const EQUAL_MIN: usize = 113;

/// The files that an output may equal: NAME.out, NAME_1.out and so on.
fn expected(directory: &Path, name: &str) -> Vec<PathBuf> {
    let alternatives = (1..10).map(|number| format!("{name}_{number}.out"));
    let names = std::iter::once(format!("{name}.out")).chain(alternatives);
    names.map(|name| directory.join("expected").join(name)).filter(|path| path.exists()).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL's src/test/isolation; .ci/isolation-suite fetches it"]
#[expect(clippy::print_stderr, reason = "the result of the suite is for whoever runs it")]
async fn the_suite_of_postgresql_comes_out_as_expected() {
    let directory = PathBuf::from(std::env::var_os(VARIABLE).unwrap_or_else(|| panic!("{VARIABLE} is not set")));
    let mut files: Vec<_> = fs::read_dir(directory.join("specs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "spec"));
    files.sort();
    let server = server().await;
    let mut target = Target::make(&server, 0).await.unwrap();
    let mut others = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let (said, ended) = transcript(&target, file, Duration::from_secs(120)).await;
        let equal = expected(&directory, name).iter().any(|file| fs::read(file).unwrap() == said.as_bytes());
        if !equal {
            others.push(match &ended {
                Ok(()) => format!("{name}: the output differs"),
                Err(error) => format!("{name}: given up, {error}"),
            });
        }
        if ended.is_err() {
            target.renew(&server).await.unwrap();
        }
    }
    server.stop().await.unwrap();
    let equal = files.len() - others.len();
    eprintln!("{equal} of {} specifications come out as expected", files.len());
    for other in &others {
        eprintln!("  {other}");
    }
    assert!(equal >= EQUAL_MIN, "{others:#?}");
}
