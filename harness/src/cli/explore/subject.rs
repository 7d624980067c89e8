//! What is explored or run freely: a case of a script, an application, the engine.

use std::sync::Arc;

use drift_engine::lock::Backend;

use crate::explore::engine::case::EngineCase;
use crate::explore::overlap::FoundTogether;
use crate::explore::schedule::ENGINE;
use crate::report::explored::TogetherRow;
use crate::scenario::application::Application;
use crate::scenario::script::{Script, ScriptCase};

/// A script, and the name of its file.
pub(crate) struct Source {
    pub file: String,
    /// What the file says.
    pub text: Arc<str>,
    pub script: Arc<Script>,
}

impl Source {
    /// As one of its cases has it.
    pub fn of_case(&self, case: &ScriptCase) -> Self {
        Self { script: Arc::new(self.script.of_case(case)), file: self.file.clone(), text: self.text.clone() }
    }
}

/// What is explored, or run freely.
pub(crate) enum Subject<'a> {
    Script(&'a Source, &'a ScriptCase),
    Application(&'a AppSource),
    Engine(EngineCase),
}

/// An application, and the name of its file.
pub(crate) struct AppSource {
    pub file: String,
    /// What the file says.
    pub text: Arc<str>,
    pub app: Arc<Application>,
}

impl Subject<'_> {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Script(source, case) => format!("{}/{}", source.script.name, case.name),
            Self::Application(source) => source.app.name.clone(),
            Self::Engine(case) => case.name.clone(),
        }
    }

    /// What it shows, in one line.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Script(source, _) => source.script.summary.clone(),
            Self::Application(source) => source.app.summary.clone(),
            Self::Engine(_) => String::new(),
        }
    }

    pub(crate) fn file(&self) -> &str {
        match self {
            Self::Script(source, _) => &source.file,
            Self::Application(source) => &source.file,
            Self::Engine(_) => ENGINE,
        }
    }

    /// What the file says; of the engine there is none.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Script(source, _) => Some(&source.text),
            Self::Application(source) => Some(&source.text),
            Self::Engine(_) => None,
        }
    }

    pub(crate) fn backend(&self) -> Backend {
        match self {
            Self::Script(_, case) => case.backend,
            Self::Application(_) => Backend::Postgres,
            Self::Engine(case) => case.backend,
        }
    }

    /// The check that is expected to be violated.
    pub(crate) fn violates(&self) -> Option<String> {
        match self {
            Self::Script(_, case) => case.violates.clone(),
            Self::Application(source) => source.app.violates.clone(),
            Self::Engine(case) => case.violates.map(|check| check.to_string()),
        }
    }

    /// The rows of what was violated when two steps ran at the same time.
    pub(super) fn together(&self, found: &[FoundTogether]) -> Vec<TogetherRow> {
        match self {
            Self::Script(source, case) => found.iter().map(|of| TogetherRow::new(&source.script, case, of)).collect(),
            Self::Application(_) | Self::Engine(_) => Vec::new(),
        }
    }

    pub(super) fn actors(&self) -> usize {
        match self {
            Self::Script(source, _) => source.script.actors.len(),
            Self::Application(source) => source.app.actors.len(),
            Self::Engine(case) => case.settings[0].roles().len(),
        }
    }
}
