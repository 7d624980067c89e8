//! Histograms as an HdrHistogram log: one line a phase, V2 encoding, tagged with the phase's name. The
//! tools that read such logs read these.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag};
use hdrhistogram::serialization::{Deserializer, V2Serializer};

use super::phase::Phase;
use super::recording::histogram;

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
    #[error("histogram {entry} has no tag that names a phase")]
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
pub fn write(histograms: &BTreeMap<Phase, Histogram<u64>>, length: Duration, mut to: impl Write) -> io::Result<()> {
    let mut serializer = V2Serializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("nanoseconds a task; the tag is the phase").with_max_value_divisor(NANOS_A_MILLI);
    let mut log = builder.begin_log_with(&mut to, &mut serializer)?;
    for (phase, histogram) in histograms {
        let tag = Tag::new(phase.as_str());
        log.write_histogram(histogram, Duration::ZERO, length, tag)
            .map_err(|error| io::Error::other(error.to_string()))?;
    }
    to.flush()
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// See [`LogError`].
pub fn read(text: &[u8]) -> Result<BTreeMap<Phase, Histogram<u64>>, LogError> {
    let mut histograms = BTreeMap::new();
    let mut deserializer = Deserializer::new();
    for (index, found) in IntervalLogIterator::new(text).enumerate() {
        let entry = index + 1;
        let LogEntry::Interval(interval) = found.map_err(|_| LogError::Entry { entry })? else { continue };
        let phase = interval.tag().and_then(|tag| Phase::parse(tag.as_str())).ok_or(LogError::Tag { entry })?;
        let encoding = |why: String| LogError::Encoding { entry, why };
        let bytes = STANDARD.decode(interval.encoded_histogram()).map_err(|error| encoding(error.to_string()))?;
        let read: Histogram<u64> =
            deserializer.deserialize(&mut bytes.as_slice()).map_err(|error| encoding(error.to_string()))?;
        // Into one with our bounds: what is longer than they allow was not written by us.
        let total = histograms.entry(phase).or_insert_with(histogram);
        total.add(&read).map_err(|error| encoding(error.to_string()))?;
    }
    Ok(histograms)
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
        let written = BTreeMap::from([(Phase::Lag, lag), (Phase::Commit, histogram())]);
        let mut text = Vec::new();
        write(&written, Duration::from_secs(10), &mut text).unwrap();
        assert_eq!(read(&text).unwrap(), written);
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
            if *wrong != text {
                assert!(read(wrong.as_bytes()).is_err(), "{index}: {wrong}");
            }
        }
    }
}
