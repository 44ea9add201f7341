use crate::admin::{Access, ApiRoute, lock_id, parse_lock_id, route};
use crate::lease::Now;

#[test]
fn a_path_has_its_methods() {
    assert_eq!(route("POST", "/v1/lock/acquire"), Ok(ApiRoute::Acquire));
    assert_eq!(route("HEAD", "/health"), Ok(ApiRoute::Health));
    assert_eq!(route("GET", "/"), Ok(ApiRoute::Index));
    assert_eq!(route("GET", "/redoc"), route("GET", "/docs"));
    let id = "0123456789abcdef0123456789abcdef";
    let force = route("DELETE", &format!("/v1/locks/{id}/force-release")).unwrap();
    assert_eq!(
        (force.access(), &force),
        (Access::Admin, &ApiRoute::ForceRelease(id.to_owned()))
    );
    let refused = route("HEAD", "/v1/lock/acquire").unwrap_err();
    assert_eq!((refused.status, refused.allow), (405, Some("POST")));
    for path in [
        "",
        "//",
        "/v1/locks//force-release",
        "/v1/locks/a/b/force-release",
        "/health/",
    ] {
        assert_eq!(route("GET", path).unwrap_err().status, 404, "{path}");
    }
}

#[test]
fn a_name_of_a_lock_is_read_as_it_is_written() {
    for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
        assert_eq!(parse_lock_id(&lock_id(id)), Some(id));
    }
    for other in [
        "",
        "0",
        "+123456789abcdef0123456789abcdef",
        "0123456789ABCDEF0123456789ABCDEF",
    ] {
        assert_eq!(parse_lock_id(other), None, "{other}");
    }
}

#[test]
fn times_are_told_to_the_second() {
    let rfc3339 = |wall_us| {
        Now {
            mono_ms: 10,
            wall_us,
        }
        .timestamp()
    };
    assert_eq!(rfc3339(1_722_160_800_999_999), "2024-07-28T10:00:00Z");
    assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    let now = Now {
        mono_ms: 5_000,
        wall_us: 10_000_000,
    };
    assert_eq!(now.timestamp_of(7_000), "1970-01-01T00:00:12Z");
    assert_eq!(now.timestamp_of(1_000), "1970-01-01T00:00:06Z");
    assert_eq!(now.timestamp_after(3_000), "1970-01-01T00:00:13Z");
}
