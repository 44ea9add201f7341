//! The mock as independent witness: two machines never use a key at once.

use e2e::{Gateway, Load, LoadOutcome, Outcomes, Plan, Redis, leave_early, post, stream_once};

use super::{holders, plan_with, states, wait_states};

const CLIENTS: usize = 100;
const REQUESTS: usize = 3_000;
const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Two gateways that know nothing of each other but the nodes; the mock of the first is the
/// upstream of both.
pub(super) struct Pair {
    // Fields are dropped in this order: the mock last.
    pub(super) second: Gateway,
    pub(super) first: Gateway,
}

/// The plan of each gateway of a pair. So many clients can keep a small machine, and with it the
/// nodes, busy for longer than the node timeout usually is.
pub(super) fn eight_keys(nodes: &[Redis], in_pool: &str) -> Plan {
    let keys: String = KEYS
        .iter()
        .map(|key| format!("key sk-e2e-{key} id={key};\n"))
        .collect();
    plan_with(nodes, "node_timeout 3s;", "").pool("main", &format!("{keys} store locks; {in_pool}"))
}

impl Pair {
    pub(super) fn start(plan: Plan, workers: usize) -> Self {
        let plan = plan.workers(workers);
        let first = plan.clone().start();
        let second = plan.upstream(first.mock().addr().to_string()).start();
        Self { first, second }
    }

    #[track_caller]
    pub(super) fn wait_states(&self, wanted: &str) {
        wait_states(&self.first, wanted);
        wait_states(&self.second, wanted);
    }

    /// Both have noticed that these nodes are silent, and no others: these are suspect, or have
    /// been given up.
    #[track_caller]
    pub(super) fn wait_silent(&self, silent: &[usize]) {
        for gateway in [&self.first, &self.second] {
            e2e::wait_until("it is noticed which nodes are silent", || {
                let states = states(gateway);
                let mut states = states.split(',').enumerate();
                states.all(|(at, state)| silent.contains(&at) != (state == "up"))
            });
        }
    }

    /// Clients of both, in turn, that stay to the end.
    pub(super) fn load(&self, requests: usize) -> Load {
        self.fickle_load(requests, usize::MAX)
    }

    /// The same, but one of so many requests is left early.
    fn fickle_load(&self, requests: usize, one_in: usize) -> Load {
        let ports = [self.first.port(), self.second.port()];
        Load::start(CLIENTS, requests, move || {
            move |number| {
                let head = format!(
                    "Content-Type: application/json\r\nX-Mock-Delay: {}us\r\n",
                    number * 7919 % 5 * 500
                );
                let request = post(&head, r#"{"model":"gpt-4o","stream":true}"#);
                match (number + 1) % one_in {
                    0 => leave_early(ports[number % 2], &request, number),
                    _ => stream_once(ports[number % 2], &request),
                }
            }
        })
    }

    /// The witness has seen no key in two hands, and all slots are free.
    #[track_caller]
    pub(super) fn assert_exclusive(&self, nodes: &[Redis]) {
        let stats = self.first.mock().stats();
        assert!(
            stats.max_in_flight_of_a_key() <= 1,
            "a key was lent twice: {stats:?}"
        );
        self.first.wait_held(0, 0);
        self.second.wait_held(0, 0);
        e2e::wait_until("every lock is given back", || {
            KEYS.iter()
                .all(|key| holders(nodes, &format!("{{main}}:l:{key}:0")) == 0)
        });
    }
}

/// Both have had their share of all requests.
#[track_caller]
fn assert_both_served(pair: &Pair) {
    for gateway in [&pair.first, &pair.second] {
        let served = gateway.access_log().matches("\"status\":\"200\"").count();
        assert!(served >= 100, "{served} requests");
    }
}

fn count(outcomes: &Outcomes, outcome: &LoadOutcome) -> usize {
    outcomes.get(outcome).copied().unwrap_or(0)
}

#[test]
fn thousands_of_requests_through_two_machines() {
    let nodes = Redis::group(3);
    let pair = Pair::start(eight_keys(&nodes, ""), 2);
    pair.wait_states("up,up,up");
    let outcomes = pair.load(REQUESTS).finish();
    assert_eq!(outcomes, [(LoadOutcome::Complete, REQUESTS)].into());
    pair.assert_exclusive(&nodes);
    assert_both_served(&pair);
    assert_eq!(pair.first.mock().stats().keys.len(), KEYS.len());
}

#[test]
fn clients_of_two_machines_that_leave_at_random_moments() {
    let nodes = Redis::group(3);
    let pair = Pair::start(eight_keys(&nodes, ""), 2);
    pair.wait_states("up,up,up");
    let outcomes = pair.fickle_load(REQUESTS, 3).finish();
    let left = REQUESTS / 3;
    assert_eq!(
        outcomes,
        [
            (LoadOutcome::Complete, REQUESTS - left),
            (LoadOutcome::Left, left)
        ]
        .into()
    );
    pair.assert_exclusive(&nodes);
    assert_both_served(&pair);
}

/// Its locks stay on the nodes until they end: nobody may have them before.
#[test]
fn workers_of_two_machines_that_are_killed() {
    let nodes = Redis::group(3);
    let mut pair = Pair::start(eight_keys(&nodes, "lease_ttl 2s;").loses_workers(), 2);
    pair.wait_states("up,up,up");
    let load = pair.load(usize::MAX);
    load.disturb(4, 200, || {
        let workers = pair.first.nginx().worker_pids();
        pair.first.nginx().kill_worker(workers[0]);
        std::mem::swap(&mut pair.first, &mut pair.second);
    });
    let outcomes = load.stop();
    assert!(
        outcomes
            .keys()
            .all(|o| !matches!(o, LoadOutcome::Answered(_))),
        "{outcomes:?}"
    );
    assert!(
        count(&outcomes, &LoadOutcome::Broken) <= 4 * CLIENTS,
        "{outcomes:?}"
    );
    assert!(
        count(&outcomes, &LoadOutcome::Complete) >= 300,
        "{outcomes:?}"
    );
    pair.assert_exclusive(&nodes);
    assert_both_served(&pair);
}

#[test]
fn one_of_two_machines_that_is_reloaded_under_load() {
    let nodes = Redis::group(3);
    let mut pair = Pair::start(eight_keys(&nodes, ""), 2);
    pair.wait_states("up,up,up");
    let load = pair.load(usize::MAX);
    load.disturb(3, 200, || {
        pair.first.reload(|plan| plan);
    });
    let outcomes = load.stop();
    assert_eq!(outcomes.len(), 1, "no error at all: {outcomes:?}");
    assert!(
        count(&outcomes, &LoadOutcome::Complete) >= 300,
        "{outcomes:?}"
    );
    pair.assert_exclusive(&nodes);
    assert_both_served(&pair);
}
