//! The results as an aligned table of plain text.

use std::fmt::Write as _;

use super::figures::{self, Group};
use super::run::Run;

/// Returns the table, without a line break at its end.
pub(super) fn report(runs: &[Run]) -> String {
    let groups = figures::groups(runs);
    let name_width = widest(&groups, |figure| figure.name.chars().count());
    let value_width =
        widest(&groups, |figure| figure.values.iter().map(|value| value.chars().count()).max().unwrap_or(0))
            .max(runs.iter().map(|run| run.label.name().len()).max().unwrap_or(0));

    let mut text = String::from("One page load through the tunnel, as an observer of the wire sees it\n\n");
    let mut heading = " ".repeat(name_width);
    for run in runs {
        let _ = write!(heading, "  {:>value_width$}", run.label.name());
    }
    let _ = writeln!(text, "{heading}");
    for Group { title, figures } in &groups {
        let _ = writeln!(text, "{title}");
        for figure in figures {
            let mut line = format!("  {:<width$}", figure.name, width = name_width - 2);
            for value in &figure.values {
                let _ = write!(line, "  {value:>value_width$}");
            }
            let _ = write!(line, "   {}", figure.meaning);
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    for remark in figures::remarks(runs) {
        let _ = writeln!(text, "\n{remark}");
    }
    text.truncate(text.trim_end().len());
    text
}

/// The width of the widest cell, with room for the indent of a row.
fn widest(groups: &[Group], width: impl Fn(&figures::Figure) -> usize) -> usize {
    groups.iter().flat_map(|group| &group.figures).map(width).max().unwrap_or(0) + 2
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::example;
    use super::*;

    #[test]
    fn values_of_a_run_end_in_one_column() {
        let text = report(&[example()]);
        let end_of = |needle: &str| {
            let line = text.lines().find(|line| line.contains(needle)).unwrap();
            line.find(needle).unwrap() + needle.len()
        };
        let end = end_of("plain");
        assert_eq!(end_of("1 788"), end);
        assert_eq!(end_of("13.65 %"), end);
        assert_eq!(end_of("1452 down x 1"), end);
        assert_eq!(end_of("40 ms"), end);
    }

    #[test]
    fn it_is_plain_text_of_a_terminals_width() {
        for line in report(&[example()]).lines() {
            assert!(line.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line:?}");
            assert!(line.len() <= 110 && line.trim_end() == line, "{line:?}");
        }
    }

    #[test]
    fn a_second_run_is_a_second_column() {
        let (one, two) = (report(&[example()]), report(&[example(), example()]));
        let line = |text: &str| text.lines().find(|line| line.contains("1 788")).unwrap().to_owned();
        assert_eq!(line(&one).matches("1 788").count(), 1);
        assert_eq!(line(&two).matches("1 788").count(), 2);
    }
}
