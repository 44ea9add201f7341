//! A gateway that serves locks, and what services call.

use std::time::SystemTime;

use e2e::{Answer, Call, Events, Exchange, Gateway, Plan, RawUpstream, Redis, wait_until};
use serde_json::{Value, json};

pub const TOKEN: &str = "token-of-a-service";
pub const OTHER: &str = "token-of-another-service";
pub const ADMIN: &str = "token-of-an-admin";

/// The paths of the lock service, whose location takes more directives.
pub fn served(more: &str) -> String {
    format!(
        "location ~ ^/($|v1/((lock|locks|maintenance)/|stats$|status$)|status$|metrics$|health$|system/info$|docs$|redoc$|openapi\\.json$) {{
         openai_api on; {more} }}"
    )
}

pub fn plan_of(pool: &str, more: &str) -> Plan {
    Plan::new()
        .pool("main", pool)
        .environment("SERVICE_TOKEN", TOKEN)
        .environment("OTHER_TOKEN", OTHER)
        .environment("ADMIN_TOKEN", ADMIN)
        .clients(
            "client labeling env:SERVICE_TOKEN;
             client batch env:OTHER_TOKEN;
             client ops env:ADMIN_TOKEN role=admin;",
        )
        .server(&served(more))
}

/// A gateway, and the Redis servers of its pool if it has any.
pub struct Bed {
    pub gateway: Gateway,
    pub nodes: Vec<Redis>,
}

/// Where the slots are exclusive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Store {
    Shm,
    Redlock,
}

pub const STORES: [Store; 2] = [Store::Shm, Store::Redlock];

impl Bed {
    /// One key with so many slots.
    pub fn new(store: Store, slots: u32) -> Self {
        Self::with(store, slots, "", "", |plan| plan)
    }

    /// The same, with more in the pool and in the location, and another plan.
    pub fn with(
        store: Store,
        slots: u32,
        in_pool: &str,
        in_place: &str,
        change: impl FnOnce(Plan) -> Plan,
    ) -> Self {
        let key = format!("key sk-e2e-main-0001 id=main slots={slots}; {in_pool}");
        if store == Store::Shm {
            let gateway = change(plan_of(&key, in_place)).start();
            let nodes = vec![];
            return Self { gateway, nodes };
        }
        let nodes = Redis::group(3);
        let plan = change(shared_plan(&nodes, &key, in_place));
        Self::on(nodes, plan)
    }

    /// The same on these nodes.
    pub fn on(nodes: Vec<Redis>, plan: Plan) -> Self {
        let mut gateway = plan.start();
        // Each worker connects to the nodes itself, and it is not known which one answers.
        let asked = match gateway.nginx().worker_pids().len() {
            1 => 1,
            workers => 16 * workers,
        };
        let bed = Self { gateway, nodes };
        wait_until("every worker sees the nodes up", || {
            (0..asked).all(|_| bed.get("/health").send().json()["status"] == "healthy")
        });
        bed
    }

    pub fn call(&self, path: &str, token: &str, body: &Value) -> Call {
        Call::json(self.gateway.url(path), body.to_string()).token(token)
    }

    pub fn get(&self, path: &str) -> Call {
        self.gateway.get(path).token(TOKEN)
    }

    /// A stream of this client that has begun, before an upstream of the test's own.
    #[track_caller]
    pub fn stream(&self, token: &str, upstream: &RawUpstream) -> (Events, Exchange) {
        let client = self.gateway.chat().token(token).spawn_events();
        let mut exchange = upstream.accept();
        exchange.begin_stream().event("first");
        let mut events = client.join().expect("a head");
        assert_eq!(events.next().as_deref(), Some("first"));
        (events, exchange)
    }

    /// Takes a lock, as the service `labeling`.
    pub fn acquire(&self, more: Value) -> Answer {
        let mut body = json!({"service_name": "labeling", "resource_type": "openai_api"});
        merge(&mut body, more);
        self.call("/v1/lock/acquire", TOKEN, &body).send()
    }

    /// Takes a lock; what it is.
    #[track_caller]
    pub fn lock(&self, more: Value) -> Value {
        self.acquire(more).expect_status(200).json()["lock_info"].clone()
    }

    pub fn extend(&self, lock: &Value, seconds: u64) -> Answer {
        self.extension(lock, seconds).send()
    }

    pub fn extension(&self, lock: &Value, seconds: u64) -> Call {
        let body = json!({"lock_id": lock["lock_id"], "service_name": "labeling",
                          "estimated_duration": seconds});
        self.call("/v1/lock/extend", TOKEN, &body)
    }

    pub fn release(&self, lock: &Value) -> Answer {
        let body = json!({"lock_id": lock["lock_id"], "service_name": "labeling"});
        self.call("/v1/lock/release", TOKEN, &body).send()
    }

    /// All that is held, as an administrator sees it.
    #[track_caller]
    pub fn active(&self) -> Vec<Value> {
        self.active_for(ADMIN)
    }

    /// What the owner of a token sees of it.
    #[track_caller]
    pub fn active_for(&self, token: &str) -> Vec<Value> {
        let call = self.gateway.get("/v1/locks/active").token(token);
        let listing = call.send().expect_status(200).json();
        let locks = listing["locks"].as_array().expect("a list").clone();
        assert_eq!(listing["count"], locks.len());
        locks
    }

    pub fn force_release(&self, lock: &Value) -> Answer {
        let id = lock["lock_id"].as_str().expect("a name");
        let path = format!("/v1/locks/{id}/force-release");
        Call::new("DELETE", self.gateway.url(&path))
            .token(ADMIN)
            .send()
    }

    pub fn clean_up(&self) -> Answer {
        self.call("/v1/maintenance/cleanup-expired", ADMIN, &json!({}))
            .send()
    }

    /// Whether the slots are seen to be free, on this machine and on the nodes.
    pub fn wait_free(&self) {
        self.gateway.wait_held(0, 0);
        wait_until("the nodes have no lock", || self.on_nodes() == 0);
    }

    /// How many locks the nodes have of the slot 0, all together.
    pub fn on_nodes(&self) -> i64 {
        let has = |redis: &Redis| redis.number("EXISTS {main}:l:main:0");
        self.nodes.iter().map(has).sum()
    }
}

pub fn shared_plan(nodes: &[Redis], pool: &str, in_place: &str) -> Plan {
    group_plan(nodes, "node_timeout 1s;", pool, in_place)
}

pub fn group_plan(nodes: &[Redis], in_group: &str, pool: &str, in_place: &str) -> Plan {
    let list: String = nodes
        .iter()
        .map(|redis| format!("node {}; ", redis.url()))
        .collect();
    let group = format!("openai_redlock group {{ {list} {in_group} bootstrap on; }}");
    plan_of(&format!("{pool} store group;"), in_place).http(&group)
}

/// A time in RFC 3339, in seconds since the epoch.
#[track_caller]
pub fn seconds(time: &Value) -> i64 {
    let text = time.as_str().expect("a time");
    let number = |range: std::ops::Range<usize>| -> i64 { text[range].parse().expect("digits") };
    assert_eq!((text.len(), &text[19..]), (20, "Z"), "{text}");
    let (y, m, d) = (number(0..4), number(5..7), number(8..10));
    // Days from the civil calendar, by Howard Hinnant.
    let (y, m) = if m > 2 { (y, m - 3) } else { (y - 1, m + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1 - 719_468;
    days * 86_400 + number(11..13) * 3_600 + number(14..16) * 60 + number(17..19)
}

/// Whether these are one time, shown twice: each is computed from a clock that was read anew, and
/// cut to seconds.
#[track_caller]
pub fn is_same_time(a: &Value, b: &Value) -> bool {
    (seconds(a) - seconds(b)).abs() <= 1
}

pub fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_secs() as i64
}

pub fn merge(body: &mut Value, more: Value) {
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
}

/// The `code` of an error in OpenAI's form, which must be complete.
#[track_caller]
pub fn code(answer: &Answer) -> (u16, Option<String>) {
    let refusal = answer.refusal();
    (refusal.status, refusal.code)
}

pub fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}
