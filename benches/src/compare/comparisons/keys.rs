//! Requests per second with few keys and with many.

use super::throughput::{CONNECTIONS, compare};
use crate::error::Result;
use crate::lab::Lab;
use crate::load::{Side, alternate};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::report::{Report, Target};
use crate::route::Route;

const FEW: Route = Route::gateway("keys-10", 10, 8);
const MANY: Route = Route::gateway("keys-10000", 10_000, 8);

/// Each side has an nginx of its own: in a common one, work that grows with the zone would slow
/// down both.
pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let few = Nginx::start(lab, &mock, &[FEW])?;
    let many = Nginx::start(lab, &mock, &[MANY])?;
    let sides = [
        Side {
            nginx: &few,
            route: &FEW,
        },
        Side {
            nginx: &many,
            route: &MANY,
        },
    ];
    let rounds = alternate(lab, &mock, &sides, CONNECTIONS)?;
    if let [few, many] = rounds.as_slice() {
        report.add(&compare(
            "10,000 keys ÷ 10 keys".to_owned(),
            Target::AtLeast(0.90),
            ("keys_10", few),
            ("keys_10000", many),
        ))?;
    }
    few.finish()?;
    many.finish()
}
