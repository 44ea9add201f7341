//! Quotas of clients.

use super::{TOKEN, clients};
use crate::clients::{ClientError, Quota, QuotaDirective, Whose};
use crate::keys::OptionError;
use crate::metrics::MAX_SERVICES;

fn quota(parameters: &[&str]) -> Result<QuotaDirective, ClientError> {
    QuotaDirective::parse(parameters)
}

#[test]
fn a_quota_is_counted_in_a_row_of_its_own() {
    let name = "other".to_owned();
    let reserved = clients(&[("other", TOKEN)]).expect_err("a mistake");
    assert_eq!(reserved, ClientError::Reserved(name));
    let some = |count| {
        let names: Vec<_> = (0..count)
            .map(|n| (format!("c{n}"), format!("token-{n:04}")))
            .collect();
        let pairs: Vec<_> = names
            .iter()
            .map(|(n, t)| (n.as_str(), t.as_str()))
            .collect();
        clients(&pairs).expect("clients")
    };
    let quota = QuotaDirective::parse(&["*", "requests=1/day"]).expect("a quota");
    let quotas = [quota];
    assert_eq!(some(MAX_SERVICES).bound(&quotas), Ok(()));
    let most = MAX_SERVICES;
    let too_many = Err((0, ClientError::TooMany(most)));
    assert_eq!(some(most + 1).bound(&quotas), too_many);
    assert_eq!(some(most + 1).bound(&[]), Ok(()));
}

#[test]
fn a_quota_has_bounds_or_is_off() {
    let all = quota(&["*", "tokens=1000000/day", "cost=50/month", "tokens=0/month"]).unwrap();
    assert_eq!(all.whose, Whose::All);
    let limits = all.quota.limits().iter();
    let limits: Vec<_> = limits.map(|l| (l.measure(), l.most, l.period())).collect();
    let expected = [
        ("tokens", 1_000_000, "day"),
        ("cost", 50_000_000_000_000, "month"),
        ("tokens", 0, "month"),
    ];
    assert_eq!(limits, expected);
    for (dollars, units) in [
        ("0.000000000001", 1),
        ("2.50", 2_500_000_000_000),
        ("18446744.073709551615", u64::MAX),
    ] {
        let cost = quota(&["app", &format!("cost={dollars}/day")]).unwrap();
        assert_eq!(cost.quota.limits()[0].most, units, "{dollars}");
    }
    assert_eq!(quota(&["app", "off"]).unwrap().quota, Quota::default());
}

#[test]
fn a_wrong_quota_is_explained() {
    for words in [&[][..], &["*"]] {
        assert_eq!(quota(words), Err(ClientError::NoQuota));
    }
    assert!(matches!(quota(&["a b", "off"]), Err(ClientError::Name(_))));
    for (option, message) in [
        (
            "tokens=5",
            "invalid tokens \"5\": a number per day or month, as 1000000/month expected",
        ),
        (
            "tokens=+5/day",
            "invalid tokens \"+5/day\": a number per day or month, as 1000000/month expected",
        ),
        (
            "tokens=5/week",
            "invalid tokens \"5/week\": a number per day or month, as 1000000/month expected",
        ),
        (
            "requests=/day",
            "invalid requests \"/day\": a number per day or month, as 1000/day expected",
        ),
        (
            "requests=1.5/day",
            "invalid requests \"1.5/day\": a number per day or month, as 1000/day expected",
        ),
        (
            "cost=1e9/day",
            "invalid cost \"1e9/day\": dollars per day or month, as 2.50/day expected",
        ),
        (
            "cost=1./day",
            "invalid cost \"1./day\": dollars per day or month, as 2.50/day expected",
        ),
        (
            "cost=18446745/day",
            "invalid cost \"18446745/day\": dollars per day or month, as 2.50/day expected",
        ),
        (
            "cost=0.0000000000001/day",
            "invalid cost \"0.0000000000001/day\": dollars per day or month, as 2.50/day expected",
        ),
        (
            "slots=1/day",
            "unknown option \"slots\", it must be one of requests=, tokens=, cost=",
        ),
        (
            "off",
            "parameter 2 is not an option, it must be one of requests=, tokens=, cost=",
        ),
    ] {
        let error = quota(&["app", option, "requests=1/month"]).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    let twice = quota(&["app", "tokens=1/day", "tokens=2/day"]).unwrap_err();
    assert_eq!(twice, OptionError::Repeated("tokens").into());
}

#[test]
fn a_quota_by_name_is_in_place_of_the_one_for_all() {
    let lines = |lines: &[&[&str]]| -> Vec<_> {
        lines
            .iter()
            .map(|words| quota(words).expect("a quota"))
            .collect()
    };
    let mut three = clients(&[
        ("a", "token-of-a"),
        ("b", "token-of-b"),
        ("c", "token-of-c"),
    ])
    .unwrap();
    let all = lines(&[
        &["b", "requests=1/day"],
        &["*", "tokens=2/day", "cost=3/day"],
        &["c", "off"],
    ]);
    three.bound(&all).unwrap();
    let counts: Vec<_> = three
        .as_slice()
        .iter()
        .map(|c| c.quota.limits().len())
        .collect();
    assert_eq!(counts, [2, 1, 0]);
    for (wrong, message) in [
        (
            lines(&[&["*", "off"], &["*", "off"]]),
            (1, "two quotas for \"*\", put their limits on one line"),
        ),
        (
            lines(&[&["a", "off"], &["a", "off"]]),
            (1, "two quotas for \"a\", put their limits on one line"),
        ),
        (
            lines(&[&["d", "off"]]),
            (
                0,
                "unknown client \"d\"; define it by \"client d ...\", or correct the name",
            ),
        ),
    ] {
        let (at, error) = three.bound(&wrong).unwrap_err();
        assert_eq!((at, &*error.to_string()), message);
    }
}
