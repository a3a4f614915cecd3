//! Where we differ from `wg-quick` on purpose. `docs/wg-quick.md` tells those who migrate.

/// A difference that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) side: Refuser,
    pub(super) reason: &'static str,
}

/// Who refuses the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refuser {
    /// We do; `wg-quick` may take it.
    Us,
    /// `wg-quick` does, or this version of it; we take it.
    WgQuick,
}

const fn we_refuse(reason: &'static str) -> Difference {
    Difference { side: Refuser::Us, reason }
}

const fn we_take(reason: &'static str) -> Difference {
    Difference { side: Refuser::WgQuick, reason }
}

pub(super) const PORT_WRAPS: Difference = we_refuse("wg takes 65537 for port 1");
pub(super) const SERVICE: Difference = we_refuse("the name of a service depends on the host; the manual says a number");
pub(super) const SIGN: Difference = we_refuse("a number with a sign is a slip; the manual says a number");
pub(super) const PORT_ZERO: Difference = we_refuse("nothing can be sent to port 0");
pub(super) const WEAK_KEY: Difference = we_refuse("a key of zeros or of small order keeps nothing secret");
pub(super) const SMALL_MTU: Difference = we_refuse("every IPv4 host has to accept 576 bytes; less breaks TCP");
pub(super) const WRONG_BEFORE_RIGHT: Difference =
    we_refuse("wg-quick looks at the last MTU and Table only; a wrong one is a slip");
pub(super) const SMALL_MTU_IPV6: Difference =
    we_refuse("Linux takes IPv6 off an interface with less than 1280, silently");
pub(super) const NO_EQUALS: Difference =
    we_refuse("wg-quick takes a line that is only a key for a key with its name as value");
pub(super) const NOT_UTF8: Difference = we_refuse("outside comments, text is UTF-8");
pub(super) const NO_SERVER: Difference = we_refuse("resolvconf would be given a server that is no address");
pub(super) const NO_SUCH_TABLE: Difference = we_refuse("wg-quick does not look at the name until there is a route");
pub(super) const SHORT_ADDRESS: Difference = we_refuse("ip takes 10.1 for 10.1.0.0, and wg for 10.0.0.1");

pub(super) const EMPTY_ALLOWED_IPS: Difference = we_take("no allowed IPs, as `wg set` has it");
pub(super) const SIGNED_ALLOWED_IPS: Difference = we_take("a newer wg takes + and -");
pub(super) const SECTION_SPACES: Difference = we_take("wg takes [ Interface ], wg-quick does not");
pub(super) const WORD_IN_ANY_CASE: Difference = we_take("keys and other words may be in any case");
pub(super) const HEX_IN_ANY_CASE: Difference = we_take("0X is 0x");
pub(super) const BYTE_ORDER_MARK: Difference = we_take("some editors write it");
