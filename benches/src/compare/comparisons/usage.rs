//! Requests a second with the usage of answers read and priced, and with the chunk that
//! tells it asked for and taken out, against neither.

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
const ASKED: Route = Route::gateway("usage-asked", 64, 1).with("openai_include_usage on;");

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let routes = [UNREAD, READ, ASKED];
    let nginx = Nginx::start(lab, &mock, &routes)?;
    let sides = routes.each_ref().map(|route| Side {
        nginx: &nginx,
        route,
    });
    let rounds = alternate(lab, &mock, &sides, CONNECTIONS)?;
    if let [unread, read, asked] = rounds.as_slice() {
        report.add(&compare(
            "usage read ÷ not read".to_owned(),
            TARGET,
            ("unread", unread),
            ("read", read),
        ))?;
        report.add(&compare(
            "usage asked for and taken out ÷ read".to_owned(),
            TARGET,
            ("read", read),
            ("asked", asked),
        ))?;
    }
    nginx.finish()
}
