//! Writes `catalogue/*.toml`: builds the machines of every defense, or of those named on the command line, measures their
//! overhead, and says what changed.

mod generate;

use std::error::Error;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue");
    let wanted = std::env::args().skip(1).collect::<Vec<_>>();
    let traces = generate::measure::Traces::load();
    let mut stdout = io::stdout();
    for recipe in generate::recipes::all() {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == recipe.name) {
            continue;
        }
        let text = generate::text(&recipe, &traces)?;
        let path = directory.join(format!("{}.toml", recipe.name));
        let is_same = fs::read_to_string(&path).is_ok_and(|before| before == text);
        fs::write(&path, text)?;
        writeln!(stdout, "{}: {}", path.display(), if is_same { "as before" } else { "changed" })?;
    }
    Ok(())
}
