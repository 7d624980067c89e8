//! How far the ratio of two sums over a time series may be off by chance, where neighbours are alike.
//!
//! The circular block bootstrap (Politis and Romano, 1992) resamples whole blocks of time. Of a ratio
//! that is linearised, the variance over all resamples is known without drawing any: it is that of
//! the means of the series' overlapping blocks, divided by how many blocks make a series. So nothing
//! here is random. The length of a block is chosen after Politis and White (2004, corrected 2009).

/// A ratio of sums on a logarithmic scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Its logarithm.
    pub log: f64,
    /// The standard error of that.
    pub error: f64,
    /// The degrees of freedom with which the error is known.
    pub freedom: f64,
}

/// Estimates the logarithm of the ratio of the sums of pairs; of sums that are zero, as of one.
pub fn estimate(pairs: &[(f64, f64)]) -> Estimate {
    let count = pairs.len().max(1) as f64;
    let top = (pairs.iter().map(|pair| pair.0).sum::<f64>() / count).max(1.0 / count);
    let bottom = (pairs.iter().map(|pair| pair.1).sum::<f64>() / count).max(1.0 / count);
    // What each interval adds to the logarithm, to first order: of mean zero.
    let influence: Vec<f64> = pairs.iter().map(|pair| pair.0 / top - pair.1 / bottom).collect();
    let block = block_length(&influence);
    let blocks = (pairs.len() as f64 / block as f64).max(2.0);
    let variance = block_variance(&influence, block) / blocks;
    // The blocks' mean is taken from them, which costs one of them.
    let freedom = blocks - 1.0;
    let blocked = variance * blocks / freedom;
    Estimate { log: (top / bottom).ln(), error: blocked.max(first_order(&influence)).sqrt(), freedom }
}

/// The variance of the mean if each value but leans on the one before. Blocks of a short series see too
/// little of what lasts long, so the greater of the two counts.
fn first_order(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let squares: f64 = values.iter().map(|value| value * value).sum();
    if squares <= f64::MIN_POSITIVE || count < 3.0 {
        return 0.0;
    }
    let products: f64 = values.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let seen = products / squares;
    // Seen in a short series it is too small by this much (Marriott and Pope, 1954).
    let alike = (seen + (1.0 + 3.0 * seen) / count).clamp(0.0, 0.99);
    squares / (count - 1.0) / count * (1.0 + alike) / (1.0 - alike)
}

/// The variance of the means of all blocks of this length, the series being a circle.
fn block_variance(values: &[f64], block: usize) -> f64 {
    let count = values.len();
    if count == 0 {
        return 0.0;
    }
    let block = block.clamp(1, count);
    let mean = values.iter().sum::<f64>() / count as f64;
    let mut sum: f64 = values[..block].iter().sum();
    let mut squares = 0.0;
    for start in 0..count {
        squares += (sum / block as f64 - mean).powi(2);
        sum += values[(start + block) % count] - values[start];
    }
    squares / count as f64
}

/// How many intervals a block should have.
pub fn block_length(values: &[f64]) -> usize {
    let count = values.len();
    let most = (count / 4).max(1);
    let mean = values.iter().sum::<f64>() / count.max(1) as f64;
    let covariance = |lag: usize| {
        let products = values.iter().zip(&values[lag.min(count)..]).map(|(a, b)| (a - mean) * (b - mean));
        products.sum::<f64>() / count as f64
    };
    let variance = covariance(0);
    // Also false where nothing varies, or where the sum is no number.
    let varies = variance > f64::MIN_POSITIVE;
    if !varies {
        return 1;
    }
    // The correlation counts as gone after `quiet` lags in a row of less than the band.
    let quiet = ((count as f64).log10().sqrt().ceil() as usize).max(5);
    let band = 2.0 * ((count as f64).log10() / count as f64).sqrt();
    let reach = (count as f64).sqrt().ceil() as usize + quiet;
    let correlations: Vec<f64> = (1..=reach.min(count - 1)).map(|lag| covariance(lag) / variance).collect();
    let silent = |window: &[f64]| window.iter().all(|correlation| correlation.abs() < band);
    let last = correlations.windows(quiet).position(silent).unwrap_or(correlations.len());
    let width = (2 * last).max(1).min(correlations.len());
    // The flat-top window: one up to half the width, then down to zero.
    let weight = |lag: usize| {
        let at = lag as f64 / width as f64;
        if at <= 0.5 { 1.0 } else { 2.0 * (1.0 - at) }
    };
    let (mut slope, mut level) = (0.0, variance);
    for lag in 1..=width {
        let weighted = weight(lag) * correlations[lag - 1] * variance;
        slope += 2.0 * lag as f64 * weighted;
        level += 2.0 * weighted;
    }
    if level <= 0.0 {
        return 1;
    }
    let spread = 4.0 / 3.0 * level * level;
    let length = (2.0 * slope * slope / spread).cbrt() * (count as f64).cbrt();
    (length.ceil() as usize).clamp(1, most)
}
