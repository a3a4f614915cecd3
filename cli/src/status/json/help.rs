//! The schema of the JSON, as the help tells it.

use maybetun::settings::{
    Counter, Counters, DefenseOptions, DefenseStatistics, DeviceDrops, Drops, HandshakeLoad, PaddingDrops, Scope,
    Statistics,
};

/// Longest line of the schema, in characters.
const WIDTH: usize = 96;

/// The schema; what stands between `@` is a list of members by their rows.
const TEXT: &str = r#"JSON schema (--json). Members may be added; `version` grows if one changes or goes:
  {
    "version": 1,
    "interfaces": [{
      "name": string,
      "public_key": string (base64) or null,
      "listen_port": number, 0 if none,
      "fwmark": number, 0 if none,
      "kill_switch": boolean (whether it is closed for this interface), null if it cannot be seen,
      "dropped": {
        @device drops@
      },
      "handshake_load": {
        "under_load": boolean,
        @handshake load@
      },
      "peers": [{
        "public_key": string (base64),
        "has_preshared_key": boolean,
        "endpoint": string (address:port) or null,
        "allowed_ips": [string (address/bits)],
        "persistent_keepalive": seconds, 0 if off,
        "last_handshake": seconds since 1970 or null,
        @statistics@,
        "dropped": {
          @drops@
        },
        "role": "client" or "relay" (which end this is), null if not known,
        "path_mtu": bytes of the largest IP packet that the peer is sent, where the path takes less
                    than the MTU asks for, else null,
        "defense": null if none runs, else {
          "name": string, "role": as above, "machines": number,
          "max_padding_frac", "max_blocking_frac": number from 0 to 1, 0 if there is no limit: the
            defense's own limits,
          "max_actions_per_second": number,
          "limits": the user's limits, 0 where there is none {
            @limits@
          },
          "masking_settings": {
            @masking settings@
          },
          @defense@,
          "padding_dropped": {
            @padding drops@
          }
        },
        "masking": null if this end does not mask, else {
          "mode": "adaptive" or the profile that all is made to look like,
          "mutual": boolean (whether the other end does its part),
          "activity": "idle", "interactive", "browsing", "download" or "upload": what the user does,
          "target": the profile that the traffic is made to look like at present, null if none,
          "band": [number, number]: the upload ratio is kept in it, in percent,
          "ratio": bytes up over bytes down of the last 10 s in percent, null if nothing came down,
          "rates", "target_rates": [up, down] in bytes a second: of the last 10 s, and of the target,
          "visible": boolean (whether an observer sees what the user does),
          "shortfall": why: "none", "masking-budget", "padding-budget" or "limit",
          "spent": bytes of masking's padding that this end has sent in the last day,
          "allowed": bytes that it may send in a day, null if that is not bounded
        },
        "protection": "protected", "one-sided" or "not-protected", null if not known,
        "protection_cause": null if protected or not known, else "off", "not-negotiated",
                            "negotiating", "version", "choice", "mismatch", "unknown",
                            "unanswered", "requested", "bounds" or "other",
        "user_packets_leave": false while a defense is required and not agreed on, null if not known,
        "negotiation": null unless the defense is ephemeral, else {
          @ephemeral@,
          "renewals": number,
          "epoch": null while nothing is agreed on, else {
            "number": number, "age": seconds, "tier", "strength": as above, as the client asked for,
            "fingerprint", "digest": string (hexadecimal), the same at both ends
          }
        }
      }]
    }]
  }"#;

/// Returns the schema.
pub(in crate::status) fn help() -> String {
    let rows = [
        ("device drops", counters(&DeviceDrops::all())),
        ("handshake load", counters(&HandshakeLoad::all())),
        ("statistics", counters(&without::<Statistics, Drops>())),
        ("drops", counters(&Drops::all())),
        ("limits", settings(Scope::Limit)),
        ("masking settings", settings(Scope::Masking)),
        ("defense", counters(&without::<DefenseStatistics, PaddingDrops>())),
        ("padding drops", counters(&PaddingDrops::all())),
        ("ephemeral", settings(Scope::Ephemeral)),
    ];
    let lines = TEXT.lines().map(|line| {
        let Some((indent, rest)) = line.split_once('@') else { return format!("{line}\n") };
        let (name, end) = rest.split_once('@').unwrap_or((rest, ""));
        let members = rows.iter().find(|(of, _)| *of == name).map(|(_, members)| &members[..]).unwrap_or_default();
        wrapped(indent, members) + end + "\n"
    });
    lines.collect::<String>().trim_end().to_owned()
}

/// Returns the counters of `T` that are not of its part `P`.
fn without<T: Counters, P: Counters>() -> Vec<&'static Counter> {
    T::all().into_iter().filter(|counter| P::all().iter().all(|part| part.key != counter.key)).collect()
}

/// Returns the members that counters are, those of one unit behind one another.
fn counters(counters: &[&'static Counter]) -> Vec<String> {
    let last_of_unit = |at: usize| counters.get(at + 1).is_none_or(|next| next.unit != counters[at].unit);
    let member = |(at, counter): (usize, &&Counter)| match last_of_unit(at) {
        true => format!("\"{}\": number of {}", counter.member, counter.unit),
        false => format!("\"{}\"", counter.member),
    };
    counters.iter().enumerate().map(member).collect()
}

fn settings(scope: Scope) -> Vec<String> {
    let settings = DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == scope);
    settings.map(|setting| format!("\"{}\": {}", setting.member, setting.json)).collect()
}

/// Joins members by commas, in lines that begin with `indent` and end where it is said what they are.
fn wrapped(indent: &str, members: &[String]) -> String {
    let mut lines = vec![indent.to_owned()];
    for (at, member) in members.iter().enumerate() {
        let comma = if at + 1 < members.len() { "," } else { "" };
        let is_said = at > 0 && members[at - 1].contains(':');
        match lines.last_mut() {
            Some(line) if !is_said && line.len() + member.len() < WIDTH => {
                if line.ends_with(',') {
                    line.push(' ');
                }
                *line += &format!("{member}{comma}");
            }
            Some(_) | None => lines.push(format!("{indent}{member}{comma}")),
        }
    }
    lines.join("\n")
}
