//! Which ways to a PostgreSQL are open on this machine, and what the others would need.

use std::path::{Path, PathBuf};

use miette::Diagnostic;

use super::admin::Admin;
use super::binaries::binary_directories;
use super::container::docker_state;
use super::server::{Way, given_url};
use super::{GivenUrl, PostgresChoice, ProvisionError};

/// One way to a PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Access {
    /// Which one.
    pub way: Way,
    /// Whether it is open, as far as can be seen without starting anything.
    pub usable: bool,
    /// Whether an image must be pulled before it can be used.
    pub must_pull: bool,
    /// What was found, or why it is not open.
    pub detail: String,
    /// What would open it.
    pub needs: Option<String>,
}

impl Access {
    fn open(way: Way, detail: String) -> Self {
        Self { way, usable: true, must_pull: false, detail, needs: None }
    }

    fn shut(way: Way, error: &ProvisionError) -> Self {
        let needs = error.help().map(|help| help.to_string());
        Self { way, usable: false, must_pull: false, detail: error.in_full(), needs }
    }
}

/// Looks at every way, in the order in which `auto` tries them; local binaries that `auto` would pass
/// over are listed too. It connects to a given URL, and neither creates nor starts anything.
///
/// Cancellation: nothing is left.
pub async fn survey(choice: &PostgresChoice, pg_bin: Option<&Path>) -> Vec<Access> {
    let mut ways = vec![given(choice).await];
    ways.extend(local(pg_bin.map(Path::to_owned)).await);
    ways.push(container().await);
    ways
}

async fn given(choice: &PostgresChoice) -> Access {
    let url = match choice {
        PostgresChoice::Url(url) => Ok(Some(url.clone())),
        _ => given_url(),
    };
    match url {
        Ok(Some(url)) => match ask(&url).await {
            Ok(detail) => Access::open(Way::Given, detail),
            Err(error) => Access::shut(Way::Given, &error),
        },
        Ok(None) => Access {
            needs: Some("set it to the URL of a server on which your role may create databases".into()),
            detail: "DRIFTLOCK_POSTGRES_URL is not set".into(),
            usable: false,
            ..Access::open(Way::Given, String::new())
        },
        Err(error) => Access::shut(Way::Given, &error),
    }
}

async fn ask(url: &GivenUrl) -> Result<String, ProvisionError> {
    let admin = Admin::given(url)?;
    let about = admin.about().await?;
    admin.close().await;
    if !(about.role.create_db || about.role.superuser) {
        return Err(ProvisionError::MayNotCreate { role: about.role.name, at: admin.place().to_owned() });
    }
    Ok(format!("PostgreSQL {} at {}, as {}", about.version, admin.place(), about.role.name))
}

async fn local(pg_bin: Option<PathBuf>) -> Vec<Access> {
    let found = tokio::task::spawn_blocking(move || binary_directories(pg_bin.as_deref())).await;
    let (usable, unusable) = found.unwrap_or_default();
    if usable.is_empty() && unusable.is_empty() {
        return vec![Access::shut(Way::Local, &ProvisionError::NoBinaries)];
    }
    let open = usable
        .iter()
        .map(|b| Access::open(Way::Local, format!("PostgreSQL {} in {}", b.version, b.directory.display())));
    let shut = unusable.iter().map(|error| Access {
        needs: error.help().or_else(|| ProvisionError::NoBinaries.help()).map(|help| help.to_string()),
        ..Access::shut(Way::Local, error)
    });
    open.chain(shut).collect()
}

async fn container() -> Access {
    match docker_state().await {
        Ok(docker) => {
            let image = if docker.image_present { "is there" } else { "must be pulled first" };
            let detail = format!("docker {}, image {} {image}", docker.version, docker.image);
            Access { must_pull: !docker.image_present, ..Access::open(Way::Container, detail) }
        }
        Err(error) => Access::shut(Way::Container, &error),
    }
}
