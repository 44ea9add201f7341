//! Requests per second when the module reads the usage of responses, compared with not reading it;
//! and when it requests and removes the usage chunk, compared with clients that request it
//! themselves.

use super::throughput::{CONNECTIONS, compare};
use crate::error::Result;
use crate::lab::Lab;
use crate::load::{Side, alternate};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::report::{Report, Target};
use crate::route::Route;

const TARGET: Target = Target::AtLeast(0.95);

const UNREAD: Route = Route::gateway("usage-off", 64, 1).with("openai_usage off;");
const READ: Route = Route::gateway("usage-on", 64, 1);
/// A client that requests the usage itself, with the body that the gateway makes from one that does
/// not.
const ASKED: Route = Route::gateway("usage-asked", 64, 1).with(
    r#"proxy_set_body '{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"What is the capital of France?"}],"temperature":0.2,"max_tokens":64}';"#,
);
const TAKEN: Route = Route::gateway("usage-taken", 64, 1).with("openai_include_usage on;");

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let routes = [UNREAD, READ, ASKED, TAKEN];
    let nginx = Nginx::start(lab, &mock, &routes)?;
    let sides = routes.each_ref().map(|route| Side {
        nginx: &nginx,
        route,
    });
    let rounds = alternate(lab, &mock, &sides, CONNECTIONS)?;
    if let [unread, read, asked, taken] = rounds.as_slice() {
        report.add(&compare(
            "usage read ÷ not read".to_owned(),
            TARGET,
            ("unread", unread),
            ("read", read),
        ))?;
        report.add(&compare(
            "usage asked for and taken out ÷ asked for by clients".to_owned(),
            TARGET,
            ("asked", asked),
            ("taken", taken),
        ))?;
    }
    nginx.finish()
}
