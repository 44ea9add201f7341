use proptest::prelude::*;

use super::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const OURS: u64 = 0xfeed;

fn continued(header: &str) -> Option<String> {
    let parent = TraceParent::continued(header.as_bytes(), OURS)?;
    Some(String::from_utf8_lossy(parent.as_bytes()).into_owned())
}

fn of_version(version: &str, flags: &str, more: &str) -> String {
    format!("{version}-{TRACE}-{SPAN}-{flags}{more}")
}

#[test]
fn a_trace_goes_on_by_our_span() {
    let header = of_version("00", "01", "");
    let expected = format!("00-{TRACE}-000000000000feed-01");
    assert_eq!(continued(&header), Some(expected));
    let parent = TraceParent::continued(header.as_bytes(), OURS).expect("a traceparent");
    assert_eq!(parent.trace_id(), TRACE.as_bytes());
    assert_eq!(parent.span_id(), b"000000000000feed");
}

#[test]
fn of_the_flags_those_are_kept_that_are_known() {
    for (flags, kept) in [
        ("00", "00"),
        ("01", "01"),
        ("03", "03"),
        ("fe", "02"),
        ("ff", "03"),
    ] {
        let sent = continued(&of_version("00", flags, "")).expect("a traceparent");
        assert_eq!(&sent[53..], kept);
    }
}

#[test]
fn a_later_version_is_taken_for_what_is_known_of_it() {
    let expected = Some(format!("00-{TRACE}-000000000000feed-01"));
    for more in ["", "-", "-what-the-future-will-be-like"] {
        for version in ["01", "cc", "fe"] {
            assert_eq!(continued(&of_version(version, "01", more)), expected);
        }
    }
    for more in [".", "0", "x-y"] {
        assert_eq!(continued(&of_version("cc", "01", more)), None, "{more}");
    }
}

#[test]
fn what_has_not_the_form_is_no_traceparent() {
    let good = of_version("00", "01", "");
    let bad = [
        String::new(),
        good[..54].to_owned(),
        format!(" {good}"),
        format!("{good} "),
        format!("{good}-"),
        format!("{good}-more"),
        of_version("ff", "01", ""),
        of_version("0F", "01", ""),
        of_version("0g", "01", ""),
        of_version("00", "0G", ""),
        of_version("00", ".1", ""),
        good.replace(TRACE, &"0".repeat(32)),
        good.replace(SPAN, &"0".repeat(16)),
        good.replace(TRACE, &TRACE.to_uppercase()),
        good.replace(SPAN, &SPAN.to_uppercase()),
        good.replacen('-', "_", 1),
        good.replace("-01", "_01"),
        good.replace("-b7", "0b7"),
        format!("{good},{good}"),
    ];
    for header in bad {
        assert_eq!(continued(&header), None, "{header:?}");
    }
}

#[test]
fn a_new_trace_has_no_id_of_zeros() {
    let parent = TraceParent::begun(0, 0);
    let expected = format!("00-{}1-{}1-01", "0".repeat(31), "0".repeat(15));
    assert_eq!(parent.as_bytes(), expected.as_bytes());
    let header = of_version("00", "00", "");
    let parent = TraceParent::continued(header.as_bytes(), 0).expect("a traceparent");
    assert_eq!(parent.span_id(), b"0000000000000001");
}

#[test]
fn a_request_id_is_short_and_of_plain_characters() {
    for id in [
        "a",
        "7f9c2ba4-e88f-4bd7-9a3b-5f5e4dd50a41",
        "01J8Z3.svc_1~2:3/4+5==@x",
        &"x".repeat(128),
    ] {
        assert!(is_request_id(id.as_bytes()), "{id}");
    }
    for id in [
        "",
        "a b",
        "a\"b",
        "a\\b",
        "a\tb",
        "a\r\nb",
        "${jndi:x}",
        "<b>",
        "é",
        "a,b",
        &"x".repeat(129),
    ] {
        assert!(!is_request_id(id.as_bytes()), "{id}");
    }
    assert_eq!(
        &request_id(0xab)[..],
        format!("req_{:032x}", 0xab).as_bytes()
    );
}

proptest! {
    #[test]
    fn a_new_trace_can_be_continued(trace: u128, span: u64, next: u64) {
        let begun = TraceParent::begun(trace, span);
        let next = TraceParent::continued(begun.as_bytes(), next).expect("our own form");
        prop_assert_eq!(begun.trace_id(), next.trace_id());
    }

    /// For every input, the forwarded header has version 00 and can be continued by the same
    /// rules.
    #[test]
    fn what_is_sent_on_has_the_form(
        header in "[0-9a-f]{2}-[0-9a-fA-F]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[a-z]{0,5})?",
        span: u64,
    ) {
        if let Some(sent) = TraceParent::continued(header.as_bytes(), span) {
            let text = std::str::from_utf8(sent.as_bytes()).expect("text");
            prop_assert!(text.starts_with("00-"));
            prop_assert_eq!(&text[3..35], &header[3..35]);
            prop_assert_eq!(&text[36..52], format!("{:016x}", span.max(1)));
            prop_assert!(TraceParent::continued(sent.as_bytes(), 1).is_some());
        } else {
            let upper = header.bytes().any(|byte| byte.is_ascii_uppercase());
            let zero = header[3..35].bytes().all(|byte| byte == b'0');
            let more = header.starts_with("00") && header.len() > 55;
            prop_assert!(upper || zero || more || header.starts_with("ff"), "{}", header);
        }
    }

    #[test]
    fn no_bytes_are_too_odd(header: Vec<u8>, span: u64) {
        prop_assert!(TraceParent::continued(&header, span).is_none_or(|p| p.as_bytes().len() == 55));
        let _ = is_request_id(&header);
    }
}
