//! A database to use: on a given server, on a throw-away PostgreSQL from local binaries or a
//! container, or in SQLite files; and its clean-up.
//!
//! Ownership is proved, never guessed. Whatever is made on this machine lives in a directory that
//! its owner keeps locked (`directory`); databases on a given server belong to a session that
//! holds an advisory lock (`given`). A lock that can be taken means that its owner is dead, and
//! only then, and only with our marker on it, is anything swept.
mod admin;
mod binaries;
mod choice;
mod cluster;
mod container;
mod directory;
mod error;
mod given;
mod group;
mod install;
mod machine;
mod name;
mod process;
mod prototype;
mod restart;
mod server;
mod settings;
mod shelf;
mod sqlite;
mod survey;
mod sweep;
mod user;
mod watcher;

pub use binaries::{Binaries, MAJOR_MIN, binary_directories, of_major};
pub use choice::{GivenUrl, PostgresChoice};
pub use container::{DockerState, container_image, docker_state};
pub use error::ProvisionError;
pub use group::ProcessGroup;
pub use install::{Client, Installed, clients, install};
pub use machine::machine_failure;
pub use name::RunName;
pub use server::{AccessUrl, Database, Maker, Role, Server, StartOptions, Way};
pub use settings::{Profile, Settings};
pub use sqlite::{Journal, SqliteDatabase, SqliteFiles, sqlite_version};
pub use survey::{Access, survey};
pub use sweep::{Swept, sweep};
