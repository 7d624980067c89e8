//! Finds the least of a function of a few numbers: pattern search (Hooke and Jeeves, 1961). It needs
//! no derivative, cannot diverge, and gives the same answer each time.

/// The most evaluations.
const EVALUATIONS_MAX: usize = 4_000;
/// The step at which the search ends.
const STEP_MIN: f64 = 1e-4;

/// The place at which `of` is least, as far as a search from `start` finds it. What `of` cannot say
/// (not a number) counts as bad.
pub fn least<const N: usize>(start: [f64; N], of: impl Fn(&[f64; N]) -> f64) -> [f64; N] {
    let value = |place: &[f64; N]| {
        let value = of(place);
        if value.is_nan() { f64::INFINITY } else { value }
    };
    let (mut place, mut best, mut step, mut evaluations) = (start, value(&start), 0.5, 1);
    while step > STEP_MIN && evaluations < EVALUATIONS_MAX {
        let before = place;
        for axis in 0..N {
            for direction in [step, -step] {
                let mut next = place;
                next[axis] += direction;
                let found = value(&next);
                evaluations += 1;
                if found < best {
                    (place, best) = (next, found);
                    break;
                }
            }
        }
        if place == before {
            step /= 2.0;
            continue;
        }
        // What has led down is tried once more.
        let mut onward = place;
        (0..N).for_each(|axis| onward[axis] += place[axis] - before[axis]);
        let found = value(&onward);
        evaluations += 1;
        if found < best {
            (place, best) = (onward, found);
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_is_found_in_a_valley_that_bends() {
        let valley = |[x, y]: &[f64; 2]| (1.0 - x).powi(2) + 10.0 * (y - x * x).powi(2);
        let [x, y] = least([-1.0, 2.0], valley);
        assert!((x - 1.0).abs() < 0.01 && (y - 1.0).abs() < 0.02, "{x} {y}");
        assert_eq!(least([3.0], |_| f64::NAN), [3.0]);
    }
}
