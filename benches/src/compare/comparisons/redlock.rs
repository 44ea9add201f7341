//! Leases on Redis servers, locked and released for each request or handed over, compared with
//! plain `proxy_pass` and with the same in Lua.

use super::latency::added;
use super::throughput::{CONNECTIONS, compare};
use crate::error::Result;
use crate::lab::Lab;
use crate::load::{Side, alternate};
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::redis::Redis;
use crate::report::{Report, Target};
use crate::route::{Group, Lease, Route};

/// More slots than clients, so that no client waits, even while slots are being released.
const ENOUGH: usize = 256;
/// Three quarters of the clients wait at any time. With half of them waiting, it can happen that
/// all slots released in one turn of the event loop find no waiter.
const SCARCE: usize = 16;
/// A lock is taken and released for each request.
pub const FULL_ROUNDS: &str = "hand_over 0; retain off;";

/// A configuration of leases on Redis servers.
struct Case {
    what: &'static str,
    route: Route,
    servers: usize,
    /// Whether the group has one more server, which does not answer.
    hung: bool,
    /// How locks are kept between requests.
    more: &'static str,
    /// The target for its requests per second, relative to plain nginx.
    share: Target,
    /// The target for what it adds to the p50 of one client, in microseconds; `None`: not measured.
    added: Option<Target>,
}

impl Case {
    const fn of(what: &'static str, name: &'static str, servers: usize) -> Self {
        Self {
            what,
            route: redlock(name, ENOUGH),
            servers,
            hung: false,
            more: FULL_ROUNDS,
            share: Target::None,
            added: Some(Target::None),
        }
    }

    fn group(&self, servers: &[Redis], hung: &Redis) -> Group {
        let hung = self.hung.then_some(hung);
        let servers = servers.iter().take(self.servers).chain(hung);
        Group {
            name: self.route.name,
            ports: servers.map(Redis::port).collect(),
            more: self.more,
        }
    }
}

/// A route with leases in the group of the same name.
pub const fn redlock(name: &'static str, slots: usize) -> Route {
    Route::gateway(name, slots, 1).leased(Lease::Redlock(name))
}

static CASES: [Case; 6] = [
    Case {
        share: Target::AtLeast(0.55),
        added: Some(Target::AtMost(60.0)),
        ..Case::of("Redlock of 3, full rounds", "redlock-3", 3)
    },
    Case {
        more: "retain 300ms;",
        share: Target::AtLeast(0.85),
        added: Some(Target::AtMost(15.0)),
        ..Case::of("Redlock of 3, retained", "retained", 3)
    },
    Case {
        route: redlock("handed-over", SCARCE),
        more: "",
        share: Target::AtLeast(0.80),
        added: None,
        ..Case::of("Redlock of 3, handed over", "handed-over", 3)
    },
    Case::of("Redlock of 1", "redlock-1", 1),
    Case::of("Redlock of 5", "redlock-5", 5),
    Case {
        hung: true,
        ..Case::of("Redlock of 3, one hung", "one-hung", 2)
    },
];
static LUA: Route = Route::gateway("lua", ENOUGH, 1).leased(Lease::Lua);

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let servers = Redis::group(lab, 5)?;
    let mut hung = Redis::start(lab)?;
    let groups = CASES.each_ref().map(|case| case.group(&servers, &hung));
    let mut routes = vec![Route::PLAIN];
    routes.extend(CASES.iter().map(|case| case.route.clone()));
    let nginx = Nginx::with_groups(lab, &mock, &routes, &groups)?;
    let lua = Nginx::with_groups(lab, &mock, std::slice::from_ref(&LUA), &groups[..1])?;
    hung.hang();

    let [plain, cases @ ..] = routes.as_slice() else {
        return Ok(());
    };
    let side = |route| Side {
        nginx: &nginx,
        route,
    };
    let by_lua = Side {
        nginx: &lua,
        route: &LUA,
    };
    let mut sides = vec![side(plain), by_lua];
    sides.extend(cases.iter().map(side));
    let rounds = alternate(lab, &mock, &sides, CONNECTIONS)?;
    if let [plain, lua, cases @ ..] = rounds.as_slice() {
        for (case, rounds) in CASES.iter().zip(cases) {
            report.add(&compare(
                format!("{} ÷ plain", case.what),
                case.share,
                ("plain", plain),
                ("redlock", rounds),
            ))?;
        }
        for (at, target) in [(0, Target::None), (1, Target::AtLeast(4.5))] {
            report.add(&compare(
                format!("{} ÷ OpenResty's Lua", CASES[at].what),
                target,
                ("lua", lua),
                ("redlock", &cases[at]),
            ))?;
        }
    }

    let idle = || CASES.iter().filter_map(|case| Some((case, case.added?)));
    let mut sides = vec![side(plain)];
    sides.extend(idle().map(|(case, _)| side(&case.route)));
    let rounds = alternate(lab, &mock, &sides, 1)?;
    if let [plain, cases @ ..] = rounds.as_slice() {
        for ((case, target), rounds) in idle().zip(cases) {
            let name = format!("added p50, {}, 1 client", case.what);
            report.add(&added(name, target, &plain.p50, &rounds.p50))?;
        }
    }
    nginx.finish_despite(Some(&format!("127.0.0.1:{}", hung.port())))?;
    lua.finish()
}
