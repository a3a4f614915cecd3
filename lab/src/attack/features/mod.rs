//! What the attack makes of a trace: a row of numbers, the same ones for every trace.

use crate::trace::Trace;

pub mod k_fingerprinting;
pub mod matrix;
pub mod pace;
pub mod sizes;

/// Which features the attack has.
///
/// [`Features::All`] is the default of the attack: the trees choose at every node what tells most, so that nobody has to
/// choose the better set after the results are known, which would flatter the attack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Features {
    /// Those of k-fingerprinting, with sizes.
    KFingerprinting,
    /// The matrix of Robust Fingerprinting: numbers of datagrams alone, as Tor's observer has them.
    Matrix,
    /// Both, and the pace.
    #[default]
    All,
}

impl Features {
    /// Returns how many numbers a row has.
    pub fn columns(self) -> usize {
        const K_FINGERPRINTING: usize = k_fingerprinting::COLUMNS + sizes::COLUMNS;
        match self {
            Self::KFingerprinting => K_FINGERPRINTING,
            Self::Matrix => matrix::COLUMNS,
            Self::All => K_FINGERPRINTING + matrix::COLUMNS + pace::COLUMNS,
        }
    }

    /// Returns the row of `trace`: finite numbers, [`Features::columns`] of them.
    pub fn row(self, trace: &Trace) -> Vec<f32> {
        let mut row = Vec::with_capacity(self.columns());
        if self != Self::Matrix {
            k_fingerprinting::extend(&mut row, trace);
            sizes::extend(&mut row, trace);
        }
        if self != Self::KFingerprinting {
            matrix::extend(&mut row, trace);
        }
        if self == Self::All {
            pace::extend(&mut row, trace);
        }
        debug_assert_eq!(row.len(), self.columns());
        row
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::tests::traces;

    proptest! {
        #[test]
        fn every_trace_has_a_whole_row_of_finite_numbers(trace in traces()) {
            for features in [Features::KFingerprinting, Features::Matrix, Features::All] {
                let row = features.row(&trace);
                prop_assert_eq!(row.len(), features.columns());
                prop_assert!(row.iter().all(|value| value.is_finite()));
            }
        }
    }
}
