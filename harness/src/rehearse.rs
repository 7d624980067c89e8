//! A migration, tried out under verified traffic before the deploy: what it blocks, for how long, what is left, and
//! whether it can be undone.

pub mod application;
pub mod apply;
pub mod blame;
pub mod budget;
pub mod catalog;
pub mod changed;
pub mod companion;
pub mod course;
pub mod crowd;
pub mod dump;
pub mod failures;
pub mod fill;
pub mod finding;
pub mod flight;
pub mod judge;
pub mod migrations;
pub mod modes;
pub mod observer;
pub mod operation;
pub mod rate;
pub mod releases;
mod rounds;
pub mod runner;
pub mod sampler;
pub mod scripted;
pub mod sending;
pub mod settings;
pub mod shipped;
pub mod site;
pub mod sqlite;
pub mod stock;
pub mod subject;
pub mod traffic;
