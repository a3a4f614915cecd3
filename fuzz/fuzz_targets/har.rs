//! Pages that a browser has exported: whatever parses, is a plan as any other.
#![no_main]

use libfuzzer_sys::fuzz_target;
use maybetun_lab::workload::Plan;

fuzz_target!(|text: &str| {
    if let Ok(plan) = Plan::from_har(text) {
        assert!(!plan.requests().is_empty());
        let again = Plan::new(plan.requests().to_vec(), Vec::new()).expect("it was checked");
        assert_eq!(again.over(plan.protocol()), plan);
    }
});
