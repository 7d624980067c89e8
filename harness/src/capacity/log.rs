//! Histograms as an HdrHistogram log: a line for each phase, and for each worker, key and step, V2
//! encoding, tagged with its name. The tools that read such logs read these.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag};
use hdrhistogram::serialization::{Deserializer, V2Serializer};

use super::parts::{Part, coarse};
use super::phase::Phase;
use super::recording::{Recording, histogram};

/// The divisor of the log's column of longest times: they are shown in milliseconds.
const NANOS_A_MILLI: f64 = 1e6;

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A line is no entry.
    #[error("histogram {entry} is not an entry of an HdrHistogram log")]
    Entry {
        /// Counted from 1.
        entry: usize,
    },
    /// A line is not of ours.
    #[error("histogram {entry} has no tag that names a phase, a worker, a key or a step")]
    Tag {
        /// Counted from 1.
        entry: usize,
    },
    /// A histogram cannot be decoded.
    #[error("histogram {entry} cannot be decoded: {why}")]
    Encoding {
        /// Counted from 1.
        entry: usize,
        /// What the decoder says.
        why: String,
    },
}

/// Writes the histograms of a run of this length.
///
/// # Errors
/// The writer's.
pub fn write(recording: &Recording, length: Duration, mut to: impl Write) -> io::Result<()> {
    let mut serializer = V2Serializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("nanoseconds a task; the tag is the phase, or whose or which step it is");
    builder.with_max_value_divisor(NANOS_A_MILLI);
    let mut log = builder.begin_log_with(&mut to, &mut serializer)?;
    let phases = recording.histograms.iter().map(|(phase, histogram)| (phase.as_str().to_owned(), histogram));
    let parts = recording.parts.iter().map(|(part, histogram)| (part.to_string(), histogram));
    for (name, histogram) in phases.chain(parts) {
        log.write_histogram(histogram, Duration::ZERO, length, Tag::new(&name))
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    to.flush()
}

/// The histograms of phases, and the finer ones.
pub type Histograms = (BTreeMap<Phase, Histogram<u64>>, BTreeMap<Part, Histogram<u64>>);

/// Reads what [`write()`] wrote.
///
/// # Errors
/// See [`LogError`].
pub fn read(text: &[u8]) -> Result<Histograms, LogError> {
    let (mut phases, mut parts) = (BTreeMap::new(), BTreeMap::new());
    let mut deserializer = Deserializer::new();
    for (index, found) in IntervalLogIterator::new(text).enumerate() {
        let entry = index + 1;
        let LogEntry::Interval(interval) = found.map_err(|_| LogError::Entry { entry })? else { continue };
        let tag = interval.tag().ok_or(LogError::Tag { entry })?;
        let encoding = |why: String| LogError::Encoding { entry, why };
        let bytes = STANDARD.decode(interval.encoded_histogram()).map_err(|error| encoding(error.to_string()))?;
        let read: Histogram<u64> =
            deserializer.deserialize(&mut bytes.as_slice()).map_err(|error| encoding(error.to_string()))?;
        // Into one with our bounds: what is longer than they allow was not written by us.
        let total = match (Phase::parse(&tag), Part::parse(&tag)) {
            (Some(phase), _) => phases.entry(phase).or_insert_with(histogram),
            (None, Some(part)) => parts.entry(part).or_insert_with(coarse),
            (None, None) => return Err(LogError::Tag { entry }),
        };
        total.add(&read).map_err(|error| encoding(error.to_string()))?;
    }
    Ok((phases, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_damaged_log_is_refused() {
        let mut lag = histogram();
        for value in [0, 513, 70_000, 1_000_000_007, 3_599_000_000_000] {
            lag.record_n(value, 3).unwrap();
        }
        let mut key = coarse();
        key.record(70_000).unwrap();
        let histograms = BTreeMap::from([(Phase::Lag, lag), (Phase::Commit, histogram())]);
        let parts = BTreeMap::from([(Part::Key(7, Phase::LockWait), key)]);
        let written = Recording { histograms, parts, ..Recording::empty() };
        let mut text = Vec::new();
        write(&written, Duration::from_secs(10), &mut text).unwrap();
        assert_eq!(read(&text).unwrap(), (written.histograms, written.parts));
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("Tag=schedule-lag,0.000,10.000,"), "{text}");
        let wrong = [
            text.replace("Tag=schedule-lag", "Tag=sleep"),
            text.replace("Tag=schedule-lag,", ""),
            text.replace("SEE", "!!!").replace("HIST", "!!!!"),
            text.trim_end()[..text.len() - 9].to_owned(),
            "Tag=commit,nonsense\n".to_owned(),
        ];
        for (index, wrong) in wrong.iter().enumerate() {
            assert_ne!(*wrong, text, "damage {index} was not done");
            assert!(read(wrong.as_bytes()).is_err(), "{index}: {wrong}");
        }
    }
}
