//! The catalogue is what its generator makes.

#[path = "../examples/generate-catalogue/generate/mod.rs"]
mod generate;

use generate::measure::Traces;
use maybetun_machines::catalogue;

#[test]
fn every_file_is_made_again_to_the_byte() {
    let recipes = generate::recipes::all();
    assert_eq!(recipes.len(), catalogue().len());
    let traces = Traces::load();
    for (recipe, entry) in recipes.iter().zip(catalogue()) {
        assert_eq!(recipe.name, entry.name());
        let text = generate::text(recipe, &traces).unwrap();
        assert!(entry.text() == text, "{}: run the generator", recipe.name);
    }
}
