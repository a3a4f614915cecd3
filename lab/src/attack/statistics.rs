//! The few figures that features and results are made of.

/// Returns the mean, 0 of nothing.
pub(crate) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Returns the standard deviation of all there is (divided by n, as numpy does), 0 of nothing.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares: Vec<f64> = values.iter().map(|value| (value - mean).powi(2)).collect();
    self::mean(&squares).sqrt()
}

/// Returns the quantile at `share` (0 to 1), between two values by a straight line as numpy does; 0 of nothing.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(&last) = sorted.last() else { return 0.0 };
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let next = sorted.get(below + 1).copied().unwrap_or(last);
    sorted[below] + (next - sorted[below]) * place.fract()
}

/// Returns the largest, 0 of nothing.
pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().copied().reduce(f64::max).unwrap_or(0.0)
}

/// Returns the smallest, 0 of nothing.
pub(crate) fn smallest(values: &[f64]) -> f64 {
    values.iter().copied().reduce(f64::min).unwrap_or(0.0)
}

/// Returns the interval in which the mean of what `values` are samples of lies with a confidence of 95 %, by Student's
/// distribution; all numbers for fewer than two values.
pub(crate) fn interval(values: &[f64]) -> [f64; 2] {
    let count = values.len();
    if count < 2 {
        return [f64::NEG_INFINITY, f64::INFINITY];
    }
    let (mean, n) = (mean(values), count as f64);
    let error = deviation(values) * (n / (n - 1.0)).sqrt() / n.sqrt();
    let half = student(count - 1) * error;
    [mean - half, mean + half]
}

/// Returns the 97.5 % quantile of Student's distribution: the table up to 10 degrees of freedom, beyond them Cornish and
/// Fisher's expansion (Abramowitz and Stegun, 26.7.5), which is right to four digits there.
fn student(degrees: usize) -> f64 {
    const TABLE: [f64; 10] = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281];
    const NORMAL: f64 = 1.959_964;
    if let Some(&quantile) = degrees.checked_sub(1).and_then(|at| TABLE.get(at)) {
        return quantile;
    }
    let (x, n) = (NORMAL, degrees as f64);
    let first = (x.powi(3) + x) / 4.0;
    let second = (5.0 * x.powi(5) + 16.0 * x.powi(3) + 3.0 * x) / 96.0;
    let third = (3.0 * x.powi(7) + 19.0 * x.powi(5) + 17.0 * x.powi(3) - 15.0 * x) / 384.0;
    x + first / n + second / n.powi(2) + third / n.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_numpys() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((mean(&values), largest(&values), smallest(&values)), (2.5, 4.0, 1.0));
        assert!((deviation(&values) - 1.25f64.sqrt()).abs() < 1e-12);
        assert_eq!([0.0, 0.25, 0.5, 0.75, 1.0].map(|share| quantile(&values, share)), [1.0, 1.75, 2.5, 3.25, 4.0]);
        assert_eq!(
            (mean(&[]), deviation(&[]), quantile(&[], 0.5), largest(&[]), smallest(&[])),
            (0.0, 0.0, 0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn the_interval_is_students() {
        assert!((student(9) - 2.2622).abs() < 1e-4);
        assert!((student(11) - 2.2010).abs() < 1e-3 && (student(30) - 2.0423).abs() < 1e-3);
        let [low, high] = interval(&[1.0, 2.0, 3.0]);
        assert!((low - (2.0 - 4.3027 / 3f64.sqrt())).abs() < 1e-3 && (low + high - 4.0).abs() < 1e-9);
        assert_eq!(interval(&[1.0]), [f64::NEG_INFINITY, f64::INFINITY]);
    }
}
