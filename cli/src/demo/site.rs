//! The web site that the demo loads: the same bytes on every computer, from a seeded generator.

use std::fmt::Write as _;

/// What an object is, in the order in which a browser asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The page itself.
    Document,
    /// Style sheets and scripts: a browser wants them before it draws.
    Layout,
    /// Fonts and images.
    Picture,
}

impl Kind {
    /// Tells the kind of the object at `path` from the path's end.
    pub(super) fn of(path: &str) -> Self {
        match path.rsplit_once('.').map(|(_, extension)| extension) {
            None => Self::Document,
            Some("css" | "js") => Self::Layout,
            Some(_) => Self::Picture,
        }
    }
}

/// One object of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) path: String,
    pub(super) body: Vec<u8>,
}

/// The path of the page.
pub(super) const DOCUMENT: &str = "/";

/// Bytes of HTML, about.
const DOCUMENT_BYTES: usize = 30_000;

/// The other objects and their sizes in bytes.
const OBJECTS: [(&str, usize); 14] = [
    ("/style/base.css", 12_400),
    ("/style/theme.css", 38_100),
    ("/script/site.js", 8_300),
    ("/script/gallery.js", 54_700),
    ("/script/vendor.js", 121_600),
    ("/font/text.woff2", 22_900),
    ("/font/heading.woff2", 30_200),
    ("/image/icon.png", 1_040),
    ("/image/logo.svg", 3_560),
    ("/image/author.jpg", 9_280),
    ("/image/garden.jpg", 24_450),
    ("/image/bridge.jpg", 60_700),
    ("/image/harbour.jpg", 110_900),
    ("/image/mountain.jpg", 249_300),
];

/// Returns the page first, then the objects it names, in the order in which it names them.
pub(super) fn objects() -> Vec<Object> {
    let document = Object { path: DOCUMENT.to_owned(), body: document().into_bytes() };
    let others = OBJECTS.iter().zip(1..).map(|(&(path, size), seed)| {
        let mut generator = SplitMix64(seed);
        let mut body = Vec::with_capacity(size + 8);
        while body.len() < size {
            body.extend(generator.next().to_le_bytes());
        }
        body.truncate(size);
        Object { path: path.to_owned(), body }
    });
    std::iter::once(document).chain(others).collect()
}

fn document() -> String {
    const WORDS: [&str; 16] = [
        "river", "stone", "quiet", "morning", "letter", "harbour", "walks", "under", "the", "a", "and", "slow",
        "light", "of", "winter", "returns",
    ];
    let mut generator = SplitMix64(0);
    let mut html = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<title>A page</title>\n");
    for (path, _) in OBJECTS {
        let tag = match Kind::of(path) {
            Kind::Layout if path.ends_with(".js") => format!("<script defer src=\"{path}\"></script>"),
            Kind::Picture if path.starts_with("/image") => format!("<img alt=\"\" src=\"{path}\">"),
            Kind::Document | Kind::Layout | Kind::Picture => format!("<link rel=\"preload\" href=\"{path}\">"),
        };
        html.push_str(&tag);
        html.push('\n');
    }
    html.push_str("</head>\n<body>\n");
    while html.len() < DOCUMENT_BYTES {
        html.push_str("<p>");
        for _ in 0..60 {
            let word = WORDS[usize::try_from(generator.next() % 16).unwrap_or(0)];
            let _ = write!(html, "{word} ");
        }
        html.push_str("</p>\n");
    }
    html.push_str("</body>\n</html>\n");
    html
}

/// Steele, Lea and Flood's SplitMix64 ("Fast splittable pseudorandom number generators", 2014).
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // The first outputs for seed 1234567, as given with the reference implementation.
        let mut generator = SplitMix64(1_234_567);
        assert_eq!(generator.next(), 6_457_827_717_110_365_317);
        assert_eq!(generator.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_site_is_the_same_each_time() {
        assert_eq!(objects(), objects());
    }

    #[test]
    fn the_site_has_a_page_and_fourteen_objects_of_1_kb_to_250_kb() {
        let objects = objects();
        assert_eq!(objects.len(), 15);
        assert!((30_000..31_000).contains(&objects[0].body.len()));
        for object in &objects[1..] {
            assert!((1_000..=250_000).contains(&object.body.len()), "{}", object.path);
        }
    }

    #[test]
    fn no_two_objects_share_a_path_or_bytes() {
        let objects = objects();
        assert_eq!(objects.iter().map(|object| &object.path).collect::<BTreeSet<_>>().len(), 15);
        assert_eq!(objects.iter().map(|object| &object.body[..1_000]).collect::<BTreeSet<_>>().len(), 15);
    }

    #[test]
    fn layout_comes_before_pictures() {
        assert!(Kind::of(DOCUMENT) < Kind::of("/style/base.css"));
        assert_eq!(Kind::of("/script/site.js"), Kind::of("/style/base.css"));
        assert!(Kind::of("/script/site.js") < Kind::of("/font/text.woff2"));
        assert_eq!(Kind::of("/font/text.woff2"), Kind::of("/image/icon.png"));
    }
}
