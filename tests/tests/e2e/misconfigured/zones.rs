//! Mistakes in `openai_zone`.

use e2e::{Gateway, Plan};

use super::{assert_refused, plan};

#[test]
fn zones_that_cannot_be() {
    for value in [
        "openai",
        "openai:",
        ":8m",
        "openai:many",
        "openai:-8m",
        "openai:1k",
        "openai:0",
    ] {
        let plan = plan().http(&format!("openai_zone {value};"));
        assert_refused(&plan, &["openai_zone", &format!("\"{value}\"")]);
    }
    let twice = plan().http("openai_zone openai:8m; openai_zone other:8m;");
    assert_refused(&twice, &["openai_zone", "duplicate"]);
    assert_refused(&plan().http("openai_zone;"), &["openai_zone"]);
    assert_refused(&plan().server("openai_zone openai:8m;"), &["openai_zone"]);
}

#[test]
fn a_zone_that_is_too_small_for_its_keys() {
    let keys: String = (0..20_000)
        .map(|number| format!("sk-e2e-many-{number}\n"))
        .collect();
    let plan = plan()
        .http("openai_zone openai:256k;")
        .file("many-keys", &keys)
        .pool("main", "key file:{dir}/many-keys;");
    assert_refused(&plan, &["openai_zone", "\"openai\""]);
    let slots = plan.pool("main", "key env:KEY slots=65535;");
    assert_refused(&slots, &["openai_zone", "\"openai\""]);
}

/// The size that a refusal says would do.
#[track_caller]
fn suggested(plan: &Plan) -> String {
    let test = plan.check();
    let refusal = test.emergencies().concat();
    let (before, _) = refusal
        .split_once(" is sufficient")
        .unwrap_or_else(|| panic!("no size is suggested: {}", test.output));
    let size = before.rsplit(' ').next().unwrap_or_default();
    size.trim_matches('"').to_owned()
}

#[test]
fn the_size_that_is_said_to_do_does() {
    let keys = |count: usize| -> String {
        (0..count)
            .map(|number| format!("sk-e2e-many-{number}\n"))
            .collect()
    };
    for (count, slots, queue) in [
        (1, 65_535, 1_000),
        (5_000, 1, 1_000),
        (20_000, 1, 1_000),
        (20_000, 3, 10),
        (1_000, 100, 60_000),
        (3, 4, 60_000),
    ] {
        let body = format!("key file:{{dir}}/many-keys slots={slots}; queue {queue};");
        let small = plan().file("many-keys", &keys(count)).pool("main", &body);
        let size = suggested(&small.clone().http("openai_zone openai:256k;"));
        let enough = small.clone().http(&format!("openai_zone openai:{size};"));
        let test = enough.check();
        assert!(test.ok, "{count} keys in {size}: {}", test.output);
        if count == 20_000 {
            let gateway: Gateway = enough.start();
            assert_eq!(gateway.held("main").slots, count * slots);
            gateway.chat().send().expect_status(200);
        }
    }
}
