//! A throw-away PostgreSQL in a container.
//!
//! The client is testcontainers' (it knows where the daemon is), but not its runner: that speaks the
//! newest API version only, which most installed daemons refuse, and its clean-up neither survives
//! a cancelled start nor works outside of a runtime. The container carries its owner's token; the
//! owner keeps a locked directory with the same token as long as it lives.

use std::collections::HashMap;
use std::path::Path;
use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use futures_util::StreamExt;
use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error as DockerError;
use testcontainers::bollard::models::{ContainerCreateBody, HostConfig, PortBinding};
use testcontainers::bollard::query_parameters::{
    CreateImageOptionsBuilder, InspectNetworkOptions, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;

use super::directory::{self, Contents, OwnedDirectory};
use super::{Profile, ProvisionError, name};

const IMAGE_VARIABLE: &str = "DRIFTLOCK_POSTGRES_IMAGE";
const IMAGE_DEFAULT: &str = "postgres:17-alpine";
const LABEL: &str = "driftlock.owner";
const PORT: u16 = 5432;
const PORT_NAME: &str = "5432/tcp";
const USER: &str = "postgres";

const ANSWER: Duration = Duration::from_secs(5);
const PULL: Duration = Duration::from_secs(300);
const CREATE: Duration = Duration::from_secs(60);
const READY: Duration = Duration::from_secs(90);
const REMOVE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
const LOG_BYTES_KEPT: usize = 2000;

/// The image that a container is made of.
pub fn container_image() -> String {
    std::env::var(IMAGE_VARIABLE).ok().filter(|image| !image.is_empty()).unwrap_or_else(|| IMAGE_DEFAULT.to_owned())
}

/// What the docker daemon says of itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DockerState {
    /// Its version.
    pub version: String,
    /// The image that a container would be made of.
    pub image: String,
    /// Whether the image is there already, so that none need be pulled.
    pub image_present: bool,
}

/// Asks the docker daemon what it is, and whether it has the image.
///
/// # Errors
/// There is no daemon, it does not answer within 5 s, or we may not use it.
pub async fn docker_state() -> Result<DockerState, ProvisionError> {
    let docker = daemon().await?;
    let version = within(ANSWER, "ask the daemon for its version", docker.version()).await?;
    let image = container_image();
    let image_present = has_image(&docker, &image).await?;
    Ok(DockerState { version: version.version.unwrap_or_default(), image, image_present })
}

/// A running container. Dropping it removes it; that blocks, bounded.
pub(super) struct Container {
    options: PgConnectOptions,
    address: (String, u16),
    password: String,
    _owned: Owned,
}

impl Container {
    /// Pulls the image where it is missing, and runs a server in a container of it.
    ///
    /// Cancellation: dropping the future removes what was made.
    pub(super) async fn start(profile: Profile) -> Result<Self, ProvisionError> {
        let docker = daemon().await?;
        let image = container_image();
        if !has_image(&docker, &image).await? {
            pull(&docker, &image).await?;
        }
        let password = name::random_password()?;
        let mut owned = Owned::new()?;
        let gateway = gateway(&docker).await;
        let body = request(&image, &password, &owned.token, profile, gateway.is_none());
        owned.begun = true;
        let created = within(CREATE, "create the container", docker.create_container(None, body)).await?;
        within(CREATE, "start the container", docker.start_container(&created.id, None)).await?;
        let address = (gateway.unwrap_or_else(daemon_host), published(&docker, &created.id).await?);
        let options = PgConnectOptions::new_without_pgpass()
            .host(&address.0)
            .port(address.1)
            .username(USER)
            .password(&password)
            .database(USER)
            .ssl_mode(PgSslMode::Disable)
            .application_name("driftlock");
        ready(&docker, &created.id, &options).await?;
        Ok(Self { options, address, password, _owned: owned })
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Where processes other than the harness connect, and with which password.
    pub(super) fn access(&self) -> (&str, u16, &str) {
        (&self.address.0, self.address.1, &self.password)
    }
}

/// The proof that the owner of a container is alive, and the duty to remove it.
struct Owned {
    token: String,
    begun: bool,
    directory: Option<OwnedDirectory>,
}

impl Owned {
    fn new() -> Result<Self, ProvisionError> {
        let token = name::random_password()?;
        let directory =
            OwnedDirectory::create(&directory::parent(), 0o700, &Contents::Container { token: token.clone() })?;
        Ok(Self { token, begun: false, directory: Some(directory) })
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }
        let token = self.token.clone();
        let (done, wait) = mpsc::channel();
        // A drop cannot await, and the runtime may be gone.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let removed = match runtime {
                Ok(runtime) => runtime.block_on(remove_all(&token)).map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let _ = done.send(removed);
        });
        let removed = wait.recv_timeout(REMOVE + ANSWER).unwrap_or_else(|e| Err(e.to_string()));
        // Nothing found may mean that the daemon is still creating it: the directory then stays, and
        // the next start's sweep looks again.
        if !matches!(removed, Ok(1..)) {
            tracing::warn!(?removed, "a container may be left; the next start looks for it");
            if let Some(directory) = self.directory.take() {
                directory.abandon();
            }
        }
    }
}

/// Removes the containers that carry a token; returns how many there were.
pub(super) async fn remove_all(token: &str) -> Result<usize, ProvisionError> {
    let docker = daemon().await?;
    let filters = HashMap::from([("label".to_owned(), vec![format!("{LABEL}={token}")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = within(ANSWER, "list the containers", docker.list_containers(Some(options))).await?;
    for id in found.iter().filter_map(|container| container.id.as_deref()) {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match tokio::time::timeout(REMOVE, docker.remove_container(id, Some(options))).await {
            // Gone, or already on its way: it removes itself when its server ends.
            Ok(Ok(()) | Err(DockerError::DockerResponseServerError { status_code: 404 | 409, .. })) => {}
            Ok(Err(error)) => return Err(failure("remove the container", &error)),
            Err(_) => return Err(late("remove the container", REMOVE)),
        }
    }
    Ok(found.len())
}

async fn daemon() -> Result<Docker, ProvisionError> {
    let client = docker_client_instance().await.map_err(|e| ProvisionError::Container { why: e.to_string() })?;
    // The daemon may be older than our client, and would refuse what is newer than itself.
    within(ANSWER, "reach the docker daemon", client.negotiate_version()).await
}

async fn has_image(docker: &Docker, image: &str) -> Result<bool, ProvisionError> {
    match tokio::time::timeout(ANSWER, docker.inspect_image(image)).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(DockerError::DockerResponseServerError { status_code: 404, .. })) => Ok(false),
        Ok(Err(error)) => Err(failure("look for the image", &error)),
        Err(_) => Err(late("look for the image", ANSWER)),
    }
}

async fn pull(docker: &Docker, image: &str) -> Result<(), ProvisionError> {
    tracing::info!(image, "pulling");
    // Without a tag the daemon would pull every one there is.
    let tagged = image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    let named = if tagged { image.to_owned() } else { format!("{image}:latest") };
    let options = CreateImageOptionsBuilder::new().from_image(&named).build();
    let what = format!("pull the image {image}");
    let all = async {
        let mut progress = docker.create_image(Some(options), None, None);
        while let Some(step) = progress.next().await {
            step?;
        }
        Ok(())
    };
    within(PULL, &what, all).await
}

fn request(image: &str, password: &str, token: &str, profile: Profile, local: bool) -> ContainerCreateBody {
    let settings =
        profile.configuration().into_iter().flat_map(|(name, value)| ["-c".into(), format!("{name}={value}")]);
    // Reached from this machine alone, where the daemon is on it; from within a container of its own,
    // the harness comes in over the bridge.
    let host_ip = local.then(|| "127.0.0.1".to_owned()).filter(|_| is_local_daemon());
    let binding = PortBinding { host_ip, host_port: Some("0".into()) };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        env: Some(vec![format!("POSTGRES_USER={USER}"), format!("POSTGRES_PASSWORD={password}")]),
        cmd: Some(std::iter::once("postgres".to_owned()).chain(settings).collect()),
        labels: Some(HashMap::from([(LABEL.to_owned(), token.to_owned())])),
        exposed_ports: Some(vec![PORT_NAME.to_owned()]),
        host_config: Some(HostConfig {
            // Also after a restart of the machine, when no proof of ownership is left.
            auto_remove: Some(true),
            port_bindings: Some(HashMap::from([(PORT_NAME.to_owned(), Some(vec![binding]))])),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// The port of the daemon's host that leads to the server.
async fn published(docker: &Docker, id: &str) -> Result<u16, ProvisionError> {
    let about = within(ANSWER, "inspect the container", docker.inspect_container(id, None)).await?;
    let ports = about.network_settings.and_then(|network| network.ports).unwrap_or_default();
    let bindings = ports.get(PORT_NAME).cloned().flatten().unwrap_or_default();
    let port = bindings.iter().find_map(|binding| binding.host_port.as_deref()?.parse().ok());
    port.ok_or_else(|| ProvisionError::Container { why: format!("the daemon did not publish its port {PORT}") })
}

/// Waits until the server lets us in; until then it may still be initialising.
async fn ready(docker: &Docker, id: &str, options: &PgConnectOptions) -> Result<(), ProvisionError> {
    // A container that has ended is removed with its log, so the log is read while it is written.
    let follow = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(true).build();
    let mut lines = docker.logs(id, Some(follow));
    let mut log = String::new();
    let failed = {
        let mut read = pin!(async {
            while let Some(Ok(line)) = lines.next().await {
                log.push_str(&line.to_string());
                let surplus = log.len().saturating_sub(LOG_BYTES_KEPT);
                let cut = (surplus..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
                log.drain(..cut);
            }
        });
        let mut poll = pin!(tokio::time::timeout(READY, up(docker, id, options)));
        let outcome = tokio::select! {
            outcome = &mut poll => outcome,
            () = &mut read => poll.await,
        };
        match outcome {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => {
                let _ = tokio::time::timeout(ANSWER, read).await;
                why
            }
            Err(_) => format!("its server was not up within {} s", READY.as_secs()),
        }
    };
    Err(ProvisionError::Container { why: format!("{failed}\n{}", log.trim_end()) })
}

async fn up(docker: &Docker, id: &str, options: &PgConnectOptions) -> Result<(), String> {
    loop {
        let refused = match tokio::time::timeout(ANSWER, options.connect()).await {
            Ok(Ok(connection)) => {
                let _ = connection.close().await;
                return Ok(());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        let about = docker.inspect_container(id, None).await;
        if !about.is_ok_and(|about| about.state.and_then(|state| state.running).unwrap_or(false)) {
            return Err(format!("it ended before its server was up ({refused})"));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// From within a container, the address under which the daemon's host is reached.
async fn gateway(docker: &Docker) -> Option<String> {
    if !Path::new("/.dockerenv").exists() || !is_local_daemon() {
        return None;
    }
    let bridge = docker.inspect_network("bridge", None::<InspectNetworkOptions>);
    let network = tokio::time::timeout(ANSWER, bridge).await.ok()?.ok()?;
    network.ipam?.config?.into_iter().find_map(|config| config.gateway).filter(|gateway| !gateway.is_empty())
}

/// Where the daemon's host is reached, according to DOCKER_HOST.
fn daemon_host() -> String {
    let given = std::env::var("DOCKER_HOST").ok().and_then(|text| url::Url::parse(&text).ok());
    let remote = given.filter(|url| matches!(url.scheme(), "tcp" | "http" | "https"));
    remote.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "127.0.0.1".to_owned())
}

fn is_local_daemon() -> bool {
    matches!(daemon_host().as_str(), "127.0.0.1" | "localhost")
}

async fn within<T>(
    patience: Duration,
    what: &str,
    work: impl Future<Output = Result<T, DockerError>>,
) -> Result<T, ProvisionError> {
    match tokio::time::timeout(patience, work).await {
        Ok(result) => result.map_err(|error| failure(what, &error)),
        Err(_) => Err(late(what, patience)),
    }
}

fn failure(what: &str, error: &DockerError) -> ProvisionError {
    ProvisionError::Container { why: format!("cannot {what}: {error}") }
}

fn late(what: &str, patience: Duration) -> ProvisionError {
    ProvisionError::Container { why: format!("cannot {what} within {} s", patience.as_secs()) }
}
