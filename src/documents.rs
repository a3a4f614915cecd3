//! Holds tables of the documents to what they tell of.

use std::path::Path;

/// Makes sure that the document at `path` has `text` between `<!-- NAME -->` and `<!-- end -->`. With `UPDATE_DOCUMENTS` in
/// the environment it is written there first.
pub(crate) fn hold(path: &str, name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    // Of several tests that write one document.
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _lock = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let document = std::fs::read_to_string(&file).unwrap();
    let begin = format!("<!-- {name} -->\n");
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("{path} has no {begin}"));
    let (found, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("UPDATE_DOCUMENTS").is_some() && found != text {
        std::fs::write(&file, format!("{before}{begin}{text}<!-- end -->{after}")).unwrap();
    } else {
        assert_eq!(found, text, "{path}: UPDATE_DOCUMENTS=1 cargo test writes it");
    }
}
