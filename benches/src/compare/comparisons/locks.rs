//! Calls of the lock service over HTTP, compared with an nginx that responds at once.

use super::redlock::redlock;
use super::throughput::{CONNECTIONS, compare};
use crate::error::Result;
use crate::lab::Lab;
use crate::load::Rounds;
use crate::mock::Mock;
use crate::nginx::Nginx;
use crate::process::time_on_core;
use crate::redis::Redis;
use crate::report::{Report, Target};
use crate::route::{Group, Route};
use crate::site::{CLIENT_TOKEN, RETURN};
use crate::wrk;

/// More slots than clients, so that no call is rejected, even while slots are being released.
const SLOTS: usize = 256;

/// A script for wrk: after each call that acquires a lock, one that releases a lock.
fn calls(pool: &str) -> String {
    format!(
        r#"local headers = {{ ["Authorization"] = "Bearer {CLIENT_TOKEN}" }}
local taken = {{}}
local asked = '{{"service_name":"bench","pool":"{pool}","estimated_duration":2}}'
local acquire
local body = '{{"service_name":"bench","lock_id":"%s"}}'

function request()
   local id = table.remove(taken)
   -- wrk knows the host only now.
   acquire = acquire or wrk.format("POST", "/v1/lock/acquire", headers, asked)
   if not id then return acquire end
   return wrk.format("POST", "/v1/lock/release", headers, string.format(body, id))
end

function response(status, headers, body)
   if body:find('"status":"acquired"', 1, true) then
      taken[#taken + 1] = body:match('"lock_id":"(%x+)"')
   end
end
"#
    )
}

/// A script for wrk that does as much work, but sends no bodies.
const BARE: &str = "function request() return wrk.format('GET') end\n\
                    function response(status, headers, body) body:find('acquired', 1, true) end\n";

pub fn run(lab: &Lab, report: &mut Report) -> Result<()> {
    let mock = Mock::start(lab)?;
    let servers = Redis::group(lab, 3)?;
    let routes = [
        Route::gateway("locks-shm", SLOTS, 1),
        redlock("locks-redlock", SLOTS),
    ];
    let group = Group {
        name: "locks-redlock",
        ports: servers.iter().map(Redis::port).collect(),
        more: "",
    };
    let nginx = Nginx::with_groups(lab, &mock, &routes, &[group])?;
    let bare = (RETURN, BARE.to_owned());
    let locks = routes
        .each_ref()
        .map(|route| ("/v1/lock/", calls(route.name)));
    let sides: Vec<_> = std::iter::once(bare).chain(locks).collect();
    let mut rounds: Vec<_> = sides.iter().map(|_| Rounds::default()).collect();
    for (path, script) in &sides {
        measure(lab, &nginx, path, script, 1)?;
    }
    for _ in 0..lab.rounds {
        for ((path, script), rounds) in sides.iter().zip(&mut rounds) {
            let (tally, core) = measure(lab, &nginx, path, script, lab.seconds)?;
            rounds.rate.push(tally.per_second());
            rounds.core.push(core);
        }
    }
    if let [bare, locks @ ..] = rounds.as_slice() {
        for (what, rounds) in ["shared memory", "Redlock of 3"].iter().zip(locks) {
            report.add(&compare(
                format!("calls that lock and unlock, {what} ÷ return 200"),
                Target::None,
                ("bare", bare),
                ("locks", rounds),
            ))?;
        }
    }
    nginx.finish()
}

fn measure(
    lab: &Lab,
    nginx: &Nginx,
    path: &str,
    script: &str,
    seconds: u64,
) -> Result<(wrk::Tally, f64)> {
    let url = format!("http://127.0.0.1:{}{path}", nginx.port());
    let before = time_on_core(nginx.worker())?;
    let tally = wrk::run_script(lab, &url, script, CONNECTIONS, seconds)?;
    let spent = time_on_core(nginx.worker())?.saturating_sub(before);
    let core = spent.as_secs_f64() * 1e6 / f64::from(tally.requests);
    Ok((tally, core))
}
