//! The closed loop of masking: users of three minutes through both ends of a tunnel in virtual time, as an observer sees them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use maybetun::masking::{Allowance, MaskingMode};
use maybetun::settings::MaskingSettings;
use maybetun_lab::defense::Defense;
use maybetun_lab::study::{Masked, MaskingOptions, Scenario, masked};
use maybetun_lab::workload::Access;

/// Has users do these for three minutes, beside the default defense, within a budget.
fn three_minutes(scenarios: &[Scenario], budget: Allowance, seed: u64) -> Vec<Masked> {
    let masking = MaskingSettings {
        mode: Some(MaskingMode::Adaptive),
        masking_budget: Some(budget),
        ..MaskingSettings::default()
    };
    let access = Access { down: 50_000_000, up: 10_000_000, ..Access::default() };
    let defense = Defense::parse("padding/medium").unwrap();
    let time = Duration::from_secs(180);
    masked(&MaskingOptions { defense, masking, access, time, seed }, scenarios)
}

#[test]
fn videos_and_downloads_are_in_the_band_within_the_usual_budget() {
    for session in three_minutes(&[Scenario::Video, Scenario::Busy], Allowance::MASKING, 11) {
        assert!(session.windows > 15 && session.in_band >= 0.9 && session.visible <= 0.1, "{session:?}");
    }
}

#[test]
fn a_camera_and_a_call_are_in_the_band_where_the_budget_allows_it_and_visible_where_not() {
    let users = [Scenario::Camera, Scenario::Call];
    let wide = Allowance { per_second: Some(6_000_000), ..Allowance::NONE };
    for session in three_minutes(&users, wide, 11) {
        assert!(session.in_band >= 0.9 && session.visible <= 0.1, "{session:?}");
        assert!(session.late < Duration::from_millis(10), "{session:?}");
    }
    for session in three_minutes(&users, Allowance::MASKING, 11) {
        assert!(session.in_band < 0.05 && session.visible > 0.9, "{session:?}");
        let user: u64 = session.bytes.iter().sum();
        let [client, relay] = session.spent;
        assert!(client + relay <= user * 3 / 10 && relay <= 180_000_000, "{session:?}");
    }
}

#[test]
fn most_of_pages_is_in_the_band_and_so_is_their_sum() {
    let wide = Allowance { per_second: Some(6_000_000), ..Allowance::NONE };
    for session in three_minutes(&[Scenario::Browsing], wide, 11) {
        assert!(session.in_band >= 0.6 && (0.03..0.08).contains(&session.ratio), "{session:?}");
    }
}
