//! nginx gets no memory, or no event from the kernel, at any one point of a request: the client's
//! token does not go upstream, the slot is given back, and the next request is served.

mod address_space;
mod clones;
mod epoll;
mod memory;

use e2e::{Answer, Call, Fault, Faults, Gateway, Plan, Recorder};

const TOKEN: &str = "sk-the-clients-own-token";
/// What nginx says of a call that was made to fail.
const SAYS: [&str; 2] = ["failed (12: ", "epoll_ctl("];
/// So small that nearly every allocation of a request is a call of `malloc`.
const POOLS: &str = "request_pool_size 128; connection_pool_size 128;";

/// A chat request with a token of the client's in each header that may have one.
fn chat(gateway: &Gateway) -> Call {
    let call = gateway.chat().token(TOKEN);
    call.header("x-service-token", TOKEN)
}

/// A plan whose nginx can be made to fail.
fn plan(faults: &Faults, upstream: &Recorder) -> Plan {
    let plan = Plan::new().http(POOLS).upstream(upstream.address());
    SAYS.into_iter().fold(faults.preloaded(plan), Plan::expect)
}

/// One request after the other, each with the failure of one call more to the right, and all
/// calls after it if `to_the_end`; until there is no such call. Reports how many there were.
/// `None` of `send` is a connection that breaks, or a client that has given up.
#[track_caller]
fn sweep(
    (faults, fault): (&Faults, Fault),
    (gateway, upstream): (&Gateway, &Recorder),
    to_the_end: bool,
    send: impl Fn(&Gateway) -> Option<Answer>,
) -> i64 {
    let fails = if to_the_end { i64::MAX } else { 1 };
    for pass in 0..1_000 {
        faults.arm(fault, pass, fails);
        let answer = send(gateway);
        let failed = faults.disarm(fault);
        if let Some(answer) = answer.filter(|answer| answer.status >= 400) {
            assert_eq!(answer.refusal().kind, "server_error", "{pass}");
        }
        assert!(!upstream.received().contains(TOKEN), "{pass}: {fault:?}");
        gateway.wait_held(0, 0);
        send(gateway)
            .expect("an answer without a fault")
            .expect_status(200);
        if failed == 0 {
            assert!(!upstream.received().contains(TOKEN), "{pass}: {fault:?}");
            return pass;
        }
    }
    panic!("there is no end of calls that fail");
}
