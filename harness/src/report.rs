//! What a command has to say, as data; and its renderings, which look at nothing else.

pub mod bench;
pub mod compare;
pub mod counterexample;
pub mod directory;
pub mod explored;
pub mod html;
pub mod junit;
pub mod overall;
pub mod plan;
pub mod record;
pub mod rehearsed;
pub mod replayed;
pub mod rounds;
pub mod terminal;
pub mod varied;
pub mod width;
