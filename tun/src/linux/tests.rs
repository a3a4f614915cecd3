use super::*;

#[test]
fn names_that_the_kernel_takes_are_taken() {
    for name in ["a", "wg0", "maybetun-relay0", "ü0", "wg0.5", "..."] {
        assert!(check_name(name).is_ok(), "{name}");
    }
}

#[test]
fn a_bad_name_is_refused_with_the_reason() {
    for (name, reason) in [
        ("", "empty"),
        (".", "directory"),
        ("..", "directory"),
        ("maybetun-relay01", "longer than 15"),
        ("wg 0", "white space"),
        ("wg\u{a0}0", "white space"),
        ("wg\0", "control"),
        ("../wg0", "`/`"),
        ("wg0:1", "`:`"),
        ("wg%d", "`%`"),
    ] {
        let message = check_name(name).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
    }
}

#[test]
fn each_cause_of_failure_has_its_error() {
    let of = |errno: Errno| CreateError::of("wg0", errno.into());
    assert!(of(Errno::PERM).to_string().contains("CAP_NET_ADMIN"));
    assert!(matches!(of(Errno::ACCESS), CreateError::NoPermission { .. }));
    assert!(of(Errno::NOENT).to_string().contains("/dev/net/tun"));
    assert!(matches!(of(Errno::BUSY), CreateError::InUse { .. }));
    assert!(matches!(CreateError::of("lo", Errno::INVAL.into()), CreateError::InUse { .. }));
    assert!(matches!(CreateError::of("no-such-link", Errno::INVAL.into()), CreateError::Other { .. }));
}
