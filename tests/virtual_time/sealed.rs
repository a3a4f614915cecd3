//! What each datagram of a defended tunnel carries, as the tunnel tells the log.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Once;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

const TARGET: &str = "maybetun::sealed";

/// Names a datagram: the receiver's index and the counter.
type Name = (u64, u64);

thread_local! {
    /// What the tunnels of this thread have sealed since a ledger was opened; `None` while none is.
    static KINDS: RefCell<Option<HashMap<Name, String>>> = const { RefCell::new(None) };
}

/// Collects what the tunnels of this thread seal, as long as it lives.
pub(crate) struct Ledger(());

impl Ledger {
    pub(crate) fn open() -> Self {
        // One collector for all threads: those that come and go at once miss events.
        static COLLECTING: Once = Once::new();
        COLLECTING.call_once(|| {
            let collector =
                tracing_subscriber::registry().with(Collector.with_filter(filter_fn(|of| of.target() == TARGET)));
            tracing::subscriber::set_global_default(collector).expect("nothing else collects");
        });
        KINDS.set(Some(HashMap::new()));
        Self(())
    }

    /// Returns what a datagram carries: `normal`, `bundle`, `padding`, `control` or `keepalive`; `None` if it is no data of a
    /// defended tunnel.
    pub(crate) fn kind_of(&self, datagram: &[u8]) -> Option<String> {
        if datagram.first() != Some(&4) {
            return None;
        }
        let number =
            |from: usize, to: usize| datagram[from..to].iter().rev().fold(0, |n, &byte| n << 8 | u64::from(byte));
        KINDS.with_borrow(|kinds| kinds.as_ref()?.get(&(number(4, 8), number(8, 16))).cloned())
    }

    /// Tells whether a datagram may carry packets of the user's: it is data, and not known to be something else.
    pub(crate) fn may_have_packets(&self, datagram: &[u8]) -> bool {
        datagram.first() == Some(&4) && self.kind_of(datagram).is_none_or(|kind| kind == "normal" || kind == "bundle")
    }

    /// Tells whether a datagram carries packets of the user's.
    pub(crate) fn has_packets(&self, datagram: &[u8]) -> bool {
        self.kind_of(datagram).is_some_and(|kind| kind == "normal" || kind == "bundle")
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        KINDS.set(None);
    }
}

struct Collector;

#[derive(Default)]
struct Fields {
    kind: String,
    receiver: u64,
    counter: u64,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "receiver" => self.receiver = value,
            "counter" => self.counter = value,
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "kind" {
            value.clone_into(&mut self.kind);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl<S: Subscriber> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        KINDS.with_borrow_mut(|kinds| {
            if let Some(kinds) = kinds {
                let mut fields = Fields::default();
                event.record(&mut fields);
                kinds.insert((fields.receiver, fields.counter), fields.kind);
            }
        });
    }
}
