//! What a program prints: the last of it, within a bound, whatever it prints.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt};

/// How many bytes are kept of one program in one execution, from the end.
pub const OUTPUT_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Default)]
struct Kept {
    last: VecDeque<u8>,
    all: u64,
}

/// The last of what a program has printed. Its clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Output(Arc<Mutex<Kept>>);

impl Output {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was printed.
    pub fn add(&self, bytes: &[u8]) {
        let mut kept = self.kept();
        kept.all += bytes.len() as u64;
        kept.last.extend(&bytes[bytes.len().saturating_sub(OUTPUT_BYTES_MAX)..]);
        let surplus = kept.last.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.last.drain(..surplus);
    }

    /// What is kept, as text; says how much is missing.
    pub fn text(&self) -> String {
        let kept = self.kept();
        let missing = kept.all - kept.last.len() as u64;
        let (one, other) = kept.last.as_slices();
        let text = String::from_utf8_lossy(&[one, other].concat()).into_owned();
        if missing == 0 { text } else { format!("({missing} bytes before this are not kept)\n{text}") }
    }

    /// The last lines that are not empty, on one line.
    pub fn last_lines(&self, most: usize) -> String {
        const CHARS_MAX: usize = 600;
        let text = self.text();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let shown = lines[lines.len().saturating_sub(most)..].join("; ");
        match shown.char_indices().rev().nth(CHARS_MAX) {
            Some((at, _)) => format!("…{}", &shown[at..]),
            None => shown,
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.kept() = Kept::default();
    }

    /// Keeps what comes from a program, to its end.
    pub async fn read(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; 8 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.add(&buffer[..read]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_is_kept_within_its_bound() {
        let output = Output::default();
        output.add(b"first\n");
        (0..20).for_each(|_| output.add(&[b'x'; 10_000]));
        output.add(b"\nthe end\n\n");
        let text = output.text();
        assert!(
            text.len() < OUTPUT_BYTES_MAX + 100 && text.starts_with('(') && !text.contains("first"),
            "{}",
            text.len()
        );
        assert_eq!(output.last_lines(1), "the end");
        assert!(output.last_lines(2).starts_with('…'));
        output.clear();
        assert_eq!(output.text(), "");
    }
}
