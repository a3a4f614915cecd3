use super::*;

fn small() -> Options {
    Options {
        sites: 4,
        visits: 6,
        bottleneck_visits: 1,
        reading: Duration::from_secs(1),
        attack: attack::Options { folds: 3, trees: 30, ..attack::Options::default() },
        ..Options::default()
    }
}

fn study(defenses: &[&str]) -> Study {
    let defenses: Vec<_> = defenses.iter().map(|name| Defense::parse(name).unwrap()).collect();
    compare(&small(), &defenses, |_| {}).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_table() {
    let defenses = ["none", "padding/low"];
    let [one, other] = [study(&defenses), study(&defenses)];
    assert_eq!(one, other);
    let text = one.to_string();
    assert!(
        text.contains("| none |") && text.contains("| padding/low |") && text.contains("| *random guess* | 25.0 % |"),
        "{text}"
    );
}

#[test]
fn what_an_observer_makes_of_a_defense_and_what_it_costs_is_in_order() {
    let study = study(&["none", "constant-size", "constant-rate"]);
    let [none, size, rate] = &study.rows[..] else { panic!("three rows") };
    assert!(none.accuracy.mean >= 0.7, "{none:?}");
    assert!(rate.accuracy.mean < none.accuracy.mean, "{rate:?}");
    assert!(none.costs.up_bytes < size.costs.up_bytes && size.costs.up_bytes < rate.costs.up_bytes);
    assert!(
        study.rows.iter().all(|row| row.costs.times.unfinished == 0 && row.costs.times.median <= row.costs.times.p95)
    );
    // What is sent at a constant rate does not fit the narrow link.
    assert!(study.rows[..2].iter().all(|row| row.costs.bottleneck.median > row.costs.times.median), "{study}");
}

#[test]
fn too_little_is_an_error() {
    let none = [Defense::None];
    for options in [Options { sites: 1, ..small() }, Options { visits: 0, ..small() }] {
        assert!(matches!(compare(&options, &none, |_| {}), Err(StudyError::TooFew { .. })));
    }
    let options = Options { visits: 2, ..small() };
    assert!(matches!(compare(&options, &none, |_| {}), Err(StudyError::Attack(_))));
}
