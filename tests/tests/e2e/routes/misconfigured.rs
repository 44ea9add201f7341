//! A mistake in routes is one line that names the directive.

use super::bed::plan;
use crate::misconfigured::assert_refused;

#[track_caller]
fn assert_block_refused(routes: &str, says: &[&str]) {
    let says = [&["openai_routes", "\"models\""], says].concat();
    assert_refused(&plan("127.0.0.1:1", routes), &says);
}

#[track_caller]
fn assert_choice_refused(serves: &str, says: &[&str]) {
    let plan = plan("127.0.0.1:1", "model a to=cloud@cloud;").serves(serves);
    assert_refused(&plan, says);
}

#[test]
fn routes_that_cannot_be() {
    assert_block_refused("", &["has no \"model\""]);
    assert_block_refused("alias a b;", &["has no \"model\""]);
    assert_block_refused("route a to=cloud;", &["unknown directive \"route\""]);
    assert_block_refused("model;", &["model", "needs a pattern"]);
    assert_block_refused("model a;", &["model", "needs a target"]);
    assert_block_refused("model a cloud;", &["model", "needs a target"]);
    assert_block_refused("model to=cloud a;", &["model", "needs a pattern"]);
    assert_block_refused("model a to=cloud b;", &["model", "\"b\" is misplaced"]);
    assert_block_refused("model a to=nobody@x;", &["no pool \"nobody\""]);
    assert_block_refused(
        "model a to=cloud@;",
        &["model", "invalid target \"cloud@\""],
    );
    assert_block_refused("model a to=cloud to=cloud;", &["\"cloud\" is a duplicate"]);
    assert_block_refused(
        "model a to=cloud; model a to=local;",
        &["model", "\"a\" is a duplicate"],
    );
    assert_block_refused("model *mini to=cloud;", &["invalid pattern \"*mini\""]);
    assert_block_refused(
        "model ~^(gpt to=cloud;",
        &["invalid regular expression \"^(gpt\"", "unclosed group"],
    );
    assert_block_refused("otherwise cloud;", &["otherwise", "\"cloud\""]);
    assert_block_refused(
        "otherwise to=cloud; otherwise to=local;",
        &["otherwise", "duplicate"],
    );
    assert_block_refused("model a to=cloud; alias b;", &["alias", "takes a name"]);
    assert_block_refused(
        "model a to=cloud; alias b a restored;",
        &["alias", "takes a name"],
    );
    assert_block_refused(
        "model a to=cloud; alias b c;",
        &["\"b\"", "no route serves its model \"c\""],
    );
    assert_block_refused(
        "model a to=cloud; alias b c; alias c a;",
        &["\"b\"", "\"c\" is an alias itself"],
    );
}

#[test]
fn choices_that_cannot_be() {
    assert_choice_refused("openai nobody;", &["openai", "no pool \"nobody\""]);
    assert_choice_refused("openai cloud nobody@x;", &["openai", "no pool \"nobody\""]);
    assert_choice_refused("openai cloud@;", &["openai", "invalid target \"cloud@\""]);
    assert_choice_refused("openai cloud cloud;", &["openai", "duplicate"]);
    assert_choice_refused("openai cloud off;", &["openai", "no pool \"off\""]);
    assert_choice_refused("openai_route nobody;", &["openai_route", "\"nobody\""]);
    assert_choice_refused(
        "openai cloud; openai_route models;",
        &["openai_route", "\"models\"", "duplicate"],
    );
    assert_choice_refused(
        "openai_route models; openai off;",
        &["openai", "\"off\"", "duplicate"],
    );
    assert_choice_refused(
        "openai_route models; openai_inspect off;",
        &["openai_route", "openai_inspect off"],
    );
    let twice = plan("127.0.0.1:1", "model a to=cloud;")
        .http("openai_routes models { otherwise to=local; }");
    assert_refused(&twice, &["openai_routes", "\"models\" is a duplicate"]);
    let off =
        plan("127.0.0.1:1", "model a to=cloud;").http("openai_routes off { otherwise to=local; }");
    assert_refused(&off, &["openai_routes", "\"off\""]);
}
