//! Sites whose pages are drawn from published distributions, and visits that differ.

use std::time::Duration;

use super::draws::{Draws, at};
use super::{MAX_BYTES, Plan, Protocol, Request};

/// Requests of a page: quantiles 0, 5, …, 100 %, of pages of the HTTP Archive, as EcoIndex has them
/// (github.com/cnumr/ecoindex_reference, `ecoindex_reference.json`; median 78). The least is 2 here and the last, 3,920, is cut at 400.
const REQUESTS: [f64; 21] = [
    2.0, 2.0, 15.0, 25.0, 34.0, 42.0, 49.0, 56.0, 63.0, 70.0, 78.0, 86.0, 95.0, 105.0, 117.0, 130.0, 147.0, 170.0,
    205.0, 281.0, 400.0,
];

/// Kilobytes of a page, of the same source (median 2,420 by its word, 1,448 in its table). The least is 2 here and the last, 223,212,
/// is cut at 12,000.
const KILOBYTES: [f64; 21] = [
    2.0, 2.0, 144.7, 319.53, 479.46, 631.97, 783.38, 937.91, 1_098.62, 1_265.47, 1_448.32, 1_648.27, 1_876.08,
    2_142.06, 2_465.37, 2_866.31, 3_401.59, 4_155.73, 5_400.08, 8_037.54, 12_000.0,
];

/// Sizes of objects of a kind against their median, at 0, 12.5, …, 100 %. Images of the HTTP Archive of 15 April 2018 have a median of
/// 19 kB, a mean of 58 and 108 at 90 % (gist.github.com/malchata/b3461fa658019933ec6dfe86bcb4a350); the rest of the curve is ours.
const SPREAD: [f64; 9] = [0.03, 0.15, 0.35, 0.6, 1.0, 1.7, 3.0, 5.2, 16.0];

/// What an object of a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Document,
    Script,
    Style,
    Image,
    Font,
    Other,
}

/// Each kind: its part of the requests, and of the bytes, in percent. Of the median desktop page in the Web Almanac 2024, chapter Page
/// Weight (October 2024): 2,652 KB in 71 requests, of which images 1,054 KB in 18, scripts 613 KB in 24, fonts 131 KB, styles 78 KB,
/// documents 18 KB. How many styles and fonts there are, is ours.
const KINDS: [(Kind, f64, f64); 5] = [
    (Kind::Script, 34.0, 23.0),
    (Kind::Style, 11.0, 3.0),
    (Kind::Image, 25.0, 40.0),
    (Kind::Font, 6.0, 5.0),
    (Kind::Other, 24.0, 29.0),
];

/// How much an object differs from visit to visit. How many of each there are, and how much, is ours ([`Site::visit`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Not at all.
    Never,
    /// By a few percent: a document with other text.
    Slightly,
    /// One of a few, which the visit's version of the page decides: a test, a campaign, a notice of consent.
    Version,
    /// Another object each time: the picture of another piece of news.
    News,
    /// Another each time, if there is one: what fills the place of an advert, and what that brings along.
    Advert,
}

/// How many versions of a page there are at most.
const VERSIONS: usize = 4;

#[derive(Debug, Clone)]
struct Template {
    change: Change,
    request: Request,
}

/// A site: a page with objects, some of which differ from visit to visit.
#[derive(Debug, Clone)]
pub struct Site {
    seed: u64,
    versions: usize,
    objects: Vec<Template>,
    protocol: Protocol,
}

impl Site {
    /// Draws a site. Dependencies and times are ours: a document names styles, scripts and most images, styles name fonts, and scripts
    /// the rest; a server takes 20 to 200 ms for the document and 1 to 20 for the rest, a browser 2 to 80 ms between an object and what
    /// it names. Requests have 60 to 600 bytes. One in three objects that are not documents or fonts is another origin's, of up to three.
    pub fn generate(seed: u64) -> Self {
        let mut draws = Draws::new(seed, 0);
        let rank = draws.fraction();
        let count = at(&REQUESTS, rank) as usize;
        // A page of many objects tends to be a large one.
        let bytes = 1_000.0 * at(&KILOBYTES, rank + draws.between(-0.15, 0.15));
        let origins = 1 + draws.below(4);
        let versions = 1 + draws.below(VERSIONS);
        let mut objects = vec![object(Kind::Document, 18_000.0 * draws.of(&SPREAD), vec![], 0, &mut draws)];
        for (kind, size) in sizes(count - 1, bytes, &mut draws) {
            let after = named_by(kind, &objects, &mut draws);
            let is_foreign = kind != Kind::Font && origins > 1 && draws.happens(1.0 / 3.0);
            let origin = if is_foreign { 1 + draws.below(origins - 1) } else { 0 };
            objects.push(object(kind, size, vec![after], origin, &mut draws));
        }
        let objects = objects.into_iter().map(|(_, template)| template).collect();
        Self { seed, versions, objects, protocol: Protocol::default() }
    }

    /// Returns a site whose page is a plan's requests, as that of a page that a browser has exported: the same objects at each visit, but
    /// for a few per cent of the first, some bytes of requests, and how busy server and browser are.
    pub fn of(page: &Plan, seed: u64) -> Self {
        let change = |number| if number == 0 { Change::Slightly } else { Change::Never };
        let template =
            |(number, request): (usize, &Request)| Template { change: change(number), request: request.clone() };
        let objects = page.requests().iter().enumerate().map(template).collect();
        Self { seed, versions: 1, objects, protocol: page.protocol() }
    }

    /// Returns the same over another protocol.
    pub fn over(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// Returns the page as it is at a visit: the same for the same number.
    ///
    /// A visit sees one version of up to four, other news, and as many of the adverts as are sold then: from none to all of
    /// them, so that they come and go together. Server and browser are busier at one time than at another.
    ///
    /// # Panics
    /// Never: what is drawn is within what a plan may be.
    pub fn visit(&self, visit: u64) -> Plan {
        let mut draws = Draws::new(self.seed, visit.wrapping_add(1));
        let version = draws.below(self.versions);
        let sold = draws.fraction();
        let [server, browser] = [0; 2].map(|_| draws.times(2.0));
        let mut requests: Vec<Request> = Vec::new();
        // Where each object is among those that are there; what an advert would name is named by its parent.
        let mut places = Vec::new();
        for (number, Template { change, request }) in self.objects.iter().enumerate() {
            // As many draws for each object, so that a change of one is no change of others.
            let [is_there, size, up] = [0; 3].map(|_| draws.fraction());
            let after: Vec<usize> = request.after.iter().map(|after| places[*after]).collect();
            if *change == Change::Advert && is_there >= sold {
                places.push(after.first().copied().unwrap_or(0));
                continue;
            }
            let factor = match change {
                Change::Never => 1.0,
                Change::Slightly => 0.95 + 0.1 * size,
                // The same at each visit that sees the version.
                Change::Version => Draws::new(self.seed ^ number as u64, version as u64).times(4.0),
                Change::News => at(&[0.25, 0.5, 0.8, 1.25, 2.0, 4.0], size),
                Change::Advert => at(&SPREAD, size),
            };
            let down = ((f64::from(request.down) * factor) as u32).min(MAX_BYTES);
            // Cookies and paths differ by some bytes.
            let up = (request.up + (up * 8.0) as u32).min(MAX_BYTES);
            let [delay, think] =
                [(request.delay, browser), (request.think, server)].map(|(time, factor)| longest(time.mul_f64(factor)));
            places.push(requests.len());
            requests.push(Request { after, down, up, delay, think, ..request.clone() });
        }
        let plan = Plan::new(requests, Vec::new()).expect("what is drawn is within what a plan may be");
        plan.over(self.protocol)
    }
}

/// Returns a time, or the longest that a plan takes.
fn longest(time: Duration) -> Duration {
    time.min(Plan::LONGEST)
}

/// Draws kinds and sizes of a page's objects, so that they have so many bytes in all. Styles come first, then scripts, as they name others.
fn sizes(count: usize, bytes: f64, draws: &mut Draws) -> Vec<(Kind, f64)> {
    let mut objects: Vec<(Kind, f64)> = (0..count)
        .map(|_| {
            let mut left = draws.fraction() * KINDS.iter().map(|(_, requests, _)| requests).sum::<f64>();
            let chosen = KINDS.iter().find(|(_, requests, _)| {
                left -= requests;
                left < 0.0
            });
            (chosen.map_or(Kind::Other, |(kind, ..)| *kind), draws.of(&SPREAD))
        })
        .collect();
    objects.sort_by_key(|(kind, _)| match kind {
        Kind::Document | Kind::Style => 0,
        Kind::Script => 1,
        Kind::Image | Kind::Font | Kind::Other => 2,
    });
    // A site has more of one kind and less of another than the median.
    let shares = KINDS.map(|(kind, _, share)| (kind, share * draws.between(0.4, 1.6)));
    let share = |kind: Kind| shares.iter().find(|(other, _)| *other == kind).map_or(0.0, |(_, share)| *share);
    let of_kind = |kind: Kind| objects.iter().filter(|(other, _)| *other == kind).map(|(_, size)| size).sum::<f64>();
    let sums = KINDS.map(|(kind, ..)| (kind, of_kind(kind)));
    let there: f64 = sums.iter().filter(|(_, sum)| *sum > 0.0).map(|(kind, _)| share(*kind)).sum();
    objects
        .iter()
        .map(|(kind, size)| {
            let sum = sums.iter().find(|(other, _)| other == kind).map_or(1.0, |(_, sum)| *sum);
            (*kind, bytes * share(*kind) / there * size / sum)
        })
        .collect()
}

/// Draws who names an object.
fn named_by(kind: Kind, objects: &[(Kind, Template)], draws: &mut Draws) -> usize {
    let by = match kind {
        Kind::Document | Kind::Style => return 0,
        Kind::Script => (Kind::Script, 0.3),
        Kind::Image => (Kind::Script, 0.3),
        Kind::Font => (Kind::Style, 0.9),
        Kind::Other => (Kind::Script, 0.8),
    };
    let candidates: Vec<usize> = (0..objects.len()).filter(|number| objects[*number].0 == by.0).collect();
    if candidates.is_empty() || !draws.happens(by.1) { 0 } else { candidates[draws.below(candidates.len())] }
}

fn object(kind: Kind, size: f64, after: Vec<usize>, origin: usize, draws: &mut Draws) -> (Kind, Template) {
    let change = match (kind, draws.fraction()) {
        (Kind::Document, _) => Change::Slightly,
        (Kind::Image, drawn) if drawn < 0.4 => Change::News,
        (Kind::Image | Kind::Other | Kind::Script, drawn) if drawn > 0.75 => Change::Advert,
        (Kind::Image | Kind::Other | Kind::Script, drawn) if drawn > 0.6 => Change::Version,
        (Kind::Other, _) => Change::Slightly,
        (Kind::Script | Kind::Style | Kind::Image | Kind::Font, _) => Change::Never,
    };
    let [least, most] = if kind == Kind::Document { [20.0, 200.0] } else { [1.0, 20.0] };
    let request = Request {
        delay: if after.is_empty() { Duration::ZERO } else { draws.milliseconds(2.0, 80.0) },
        after,
        not_before: Duration::ZERO,
        up: draws.between(60.0, 600.0) as u32,
        // An answer has a header.
        down: 100 + size as u32,
        think: draws.milliseconds(least, most),
        origin,
    };
    (kind, Template { change, request })
}
