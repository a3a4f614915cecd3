//! How a file of the catalogue is made.

pub(crate) mod measure;
mod own;
pub(crate) mod recipes;

use maybetun_machines::DefenseError;

use measure::Traces;
use recipes::Recipe;

/// What every file begins with.
const HEADER: &str = "# Made by `cargo run -p maybetun-machines --example generate-catalogue`; see README.md.\n\n";

/// Returns the text of the file for a recipe, with the overhead that it has on `traces`.
///
/// # Errors
/// When what the recipe says is not a valid defense.
pub(crate) fn text(recipe: &Recipe, traces: &Traces) -> Result<String, DefenseError> {
    let defense = recipe.defense()?;
    let overhead = traces.overhead(&defense);
    Ok(format!("{HEADER}{}", defense.with_overhead(Some(overhead))?.to_toml()))
}
