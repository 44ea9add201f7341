//! Requests per second when 56 of 64 clients wait at any time, so that each lease is handed over.

use super::throughput::{CONNECTIONS, compare};
use crate::error::Result;
use crate::lab::Lab;
use crate::load::{Side, alternate};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::report::{Report, Target};
use crate::route::Route;

const ROUTES: [Route; 2] = [
    Route::gateway("keys-64", 64, 1),
    Route::gateway("keys-8", 8, 1),
];

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let nginx = Nginx::start(lab, &mock, &ROUTES)?;
    let sides = ROUTES.each_ref().map(|route| Side {
        nginx: &nginx,
        route,
    });
    let rounds = alternate(lab, &mock, &sides, CONNECTIONS)?;
    if let [enough, scarce] = rounds.as_slice() {
        report.add(&compare(
            "waiting for 8 keys ÷ 64 keys".to_owned(),
            Target::None,
            ("keys_64", enough),
            ("keys_8", scarce),
        ))?;
    }
    nginx.finish()
}
