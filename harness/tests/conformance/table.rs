//! How a program went, for people: one column a session, time going down.

use std::fmt::Write as _;

use drift_engine::op::{Op, Reply};
use drift_engine::session::{DbError, SessionId};

use crate::explore::Ended;
use crate::program::Act;

/// The widest that a cell may be.
const WIDTH: usize = 44;

/// One line: what was sent, and what had ended when all was still.
#[derive(Clone, Debug)]
pub struct Line {
    pub session: usize,
    pub act: Act,
    pub op: Op,
    pub ended: Ended,
}

/// A program as far as it went.
pub fn table(lines: &[Line], ids: &[SessionId]) -> String {
    let mut text = String::new();
    row(&mut text, &(0..ids.len()).map(|session| format!("session {}", session + 1)).collect::<Vec<_>>());
    row(&mut text, &vec!["-".repeat(WIDTH); ids.len()]);
    for line in lines {
        let mut cells = vec![String::new(); ids.len()];
        cells[line.session] = sent(line);
        let answers = answers(&line.ended, ids);
        if !line.ended.contains_key(&ids[line.session]) {
            cells[line.session].push_str(" … waits");
        }
        row(&mut text, &cells);
        row(&mut text, &answers);
    }
    text
}

/// What has ended, by session.
pub fn answers(ended: &Ended, ids: &[SessionId]) -> Vec<String> {
    ids.iter().map(|id| ended.get(id).map(|result| format!("→ {}", answer(result))).unwrap_or_default()).collect()
}

/// What ended, on one line.
pub fn on_one_line(ended: &Ended, ids: &[SessionId]) -> String {
    let answers = answers(ended, ids).into_iter().enumerate().filter(|(_, answer)| !answer.is_empty());
    let answers: Vec<String> = answers.map(|(session, answer)| format!("session {} {answer}", session + 1)).collect();
    if answers.is_empty() { "nobody's operation ended".into() } else { answers.join(", ") }
}

/// The engine's short form, with what it leaves out.
fn sent(line: &Line) -> String {
    match line.act {
        Act::WriteEvents { values, on_conflict, .. } => format!("{} {values:?} {on_conflict:?}", line.op),
        Act::OpenRun { identity, fresh, .. } | Act::FailRun { identity, fresh, .. } => {
            format!("{} of {identity}{}", line.op, if fresh { " fresh" } else { "" })
        }
        _ => line.op.to_string(),
    }
}

fn answer(result: &Result<Reply, DbError>) -> String {
    match result {
        Ok(Reply::Done) => "done".into(),
        Ok(Reply::Locked(true)) => "locked".into(),
        Ok(Reply::Locked(false)) => "no row".into(),
        Ok(Reply::Opened(Some(opened))) => {
            format!("{} {:?}{}", opened.run.id, opened.run.status, if opened.same { "" } else { ", another's" })
        }
        Ok(Reply::Opened(None)) => "not seen".into(),
        Ok(Reply::Claims(cells)) => format!("{} claims", cells.iter().map(|cell| cell.count).sum::<u64>()),
        Ok(Reply::Written(c)) => format!("+{} ~{} -{}", c.inserted, c.updated, c.withdrawn),
        Ok(Reply::Events(events)) => {
            let values: Vec<String> = events.iter().map(|e| format!("{} {}", e.payer, e.delta * 8.0)).collect();
            format!("[{}]", values.join(", "))
        }
        Ok(Reply::Committed) => "committed".into(),
        Ok(Reply::RolledBack) => "rolled back".into(),
        Err(error) => format!("{} ({})", error.code.as_deref().unwrap_or("no code"), error.class),
    }
}

fn row(text: &mut String, cells: &[String]) {
    if cells.iter().all(String::is_empty) {
        return;
    }
    let mut line = String::new();
    for cell in cells {
        let _ = write!(line, "{cell:WIDTH$} ");
    }
    let _ = writeln!(text, "{}", line.trim_end());
}
