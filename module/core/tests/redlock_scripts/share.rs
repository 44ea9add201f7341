//! Shared stats on a real redis-server, compared with the model.

use std::collections::BTreeMap;

use openai_core::redlock::share::{Instance, RowId, RowSums, Sharing};
use openai_core::redlock::{Script, ScriptCall, ShareNames, Value};

use crate::memory::{Memory, text};
use crate::rng::Rng;
use crate::server::{Connection, Server};

const KEEP: i64 = 62;

fn names() -> ShareNames {
    ShareNames::new("t:").unwrap()
}

fn today(node: &mut Connection) -> i64 {
    (node.time() / 86_400_000) as i64
}

fn call(script: Script, args: &[&str]) -> ScriptCall {
    ScriptCall {
        script,
        keys: names().keys().to_vec(),
        args: args.iter().map(ToString::to_string).collect(),
    }
}

fn row(day: i64, instance: u64, name: &str) -> String {
    format!("{day}:{instance:016x}:{name}")
}

fn share(node: &mut Connection, id: &str, rows: &[(&str, &str)]) -> Value {
    let mut args = vec![id, "62"];
    args.extend(rows.iter().flat_map(|(name, sums)| [name, sums]));
    node.call(&call(Script::Share, &args))
}

fn said(id: &str, count: i64) -> Value {
    Value::Array(vec![Value::Bytes(id.into()), Value::Int(count)])
}

fn memory(node: &mut Connection) -> Memory {
    let [about, rows, order] = names().keys().clone();
    let pairs = |node: &mut Connection, words: &[&str]| -> BTreeMap<String, String> {
        let texts = node.texts(words);
        let pair = |pair: &[String]| (pair[0].clone(), pair[1].clone());
        texts.chunks(2).map(pair).collect()
    };
    let about = pairs(node, &["HGETALL", &about]);
    let sums = |text: String| {
        let sums = text.trim_end_matches(',').split(',');
        let sums = sums
            .map(|sum| sum.parse().unwrap_or(0))
            .collect::<Vec<u64>>();
        assert_eq!(crate::memory::text(&sums), text);
        sums
    };
    let rows = pairs(node, &["HGETALL", &rows]).into_iter();
    let order = pairs(node, &["ZRANGE", &order, "0", "-1", "WITHSCORES"]).into_iter();
    Memory {
        id: about.get("id").cloned(),
        changes: about
            .get("changes")
            .map_or(0, |count| count.parse().unwrap()),
        rows: rows.map(|(name, text)| (name, sums(text))).collect(),
        order: order
            .map(|(name, at)| (at.parse().unwrap(), name))
            .collect(),
    }
}

#[test]
#[ignore = "starts redis-server"]
fn redis_and_the_model_agree_about_totals() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    // Not at the end of a day.
    let (mut model, mut rng, today) = (Memory::default(), Rng::new(11), today(&mut node));
    for at in 0..2_000 {
        if rng.percent(1) {
            node.ok(&["FLUSHALL"]);
            model = Memory::default();
        }
        let call = if rng.percent(60) {
            let mut args = vec![format!("id-{at}"), KEEP.to_string()];
            for _ in 0..rng.within(0, 5) {
                let day = today + 2 - rng.within(0, 4) as i64 - 31 * rng.within(0, 2) as i64;
                args.push(row(
                    day,
                    rng.within(1, 3),
                    &format!("s:{}", rng.within(0, 2)),
                ));
                let sum = |rng: &mut Rng| rng.within(0, 30) * rng.within(0, 30);
                let mut sums: Vec<_> = (0..rng.within(0, 3)).map(|_| sum(&mut rng)).collect();
                sums.push(rng.within(1, 9));
                args.push(text(&sums));
            }
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            call(Script::Share, &args)
        } else {
            let known = if rng.percent(70) {
                model.id.clone()
            } else {
                None
            };
            let upto = rng.within(0, model.changes).to_string();
            let own = if rng.percent(50) {
                ""
            } else {
                "0000000000000001:"
            };
            let most = rng.within(1, 20).to_string();
            call(
                Script::Shared,
                &[&known.unwrap_or_default(), &upto, &most, own],
            )
        };
        let (says, told) = (node.call(&call), model.run(&call, today));
        assert_eq!(says, told, "command {at}: {call:?}");
        if at % 20 == 19 {
            assert_eq!(memory(&mut node), model, "after {at}: {call:?}");
        }
    }
}

#[test]
#[ignore = "starts redis-server"]
fn sums_beyond_what_a_double_holds_are_told_apart() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let name = row(today(&mut node), 1, "s:a");
    let cost = |more: u64| format!(",{},", (1_u64 << 62) + more);
    assert_eq!(share(&mut node, "a", &[(&name, &cost(1))]), said("a", 1));
    assert_eq!(share(&mut node, "b", &[(&name, &cost(0))]), said("a", 0));
    assert_eq!(share(&mut node, "b", &[(&name, &cost(2))]), said("a", 1));
    assert_eq!(share(&mut node, "b", &[(&name, "9,7,")]), said("a", 1));
    let kept = memory(&mut node).rows;
    assert_eq!(kept[&name], [9, (1 << 62) + 2]);
}

#[test]
#[ignore = "starts redis-server"]
fn what_a_node_keeps_expires_when_nobody_writes() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let name = row(today(&mut node), 1, "s:a");
    share(&mut node, "a", &[(&name, "1,")]);
    for key in names().keys() {
        let left: i64 = node.texts(&["TTL", key])[0].parse().unwrap();
        assert!(
            (KEEP * 86_400..=(KEEP + 1) * 86_400).contains(&left),
            "{key}: {left}"
        );
    }
}

#[test]
#[ignore = "starts redis-server"]
fn days_long_past_are_forgotten_as_others_are_written() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let today = today(&mut node);
    // As if they had been written on that day.
    let [about, rows, order] = names().keys().clone();
    node.ask(&["HSET", &about, "id", "a", "changes", "3"]);
    for (change, day) in [(1, today - 63), (2, today - 62), (3, today + 2)] {
        let name = row(day, 1, "s:a");
        node.ask(&["HSET", &rows, &name, "1,"]);
        node.ask(&["ZADD", &order, &change.to_string(), &name]);
    }
    let now = row(today, 1, "s:a");
    assert_eq!(share(&mut node, "b", &[(&now, "1,")]), said("a", 1));
    let kept: Vec<_> = memory(&mut node).rows.into_keys().collect();
    assert_eq!(kept, [row(today - 62, 1, "s:a"), now]);
}

/// Two machines, and more rows than one answer holds.
#[test]
#[ignore = "starts redis-server"]
fn machines_learn_all_of_one_another() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let day = today(&mut node) as u32;
    let row = |number: u32| RowId {
        day: day - number % 60,
        name: format!("s:{number}").into(),
    };
    let talk = |sharing: &mut Sharing, node: &mut Connection| {
        let mut calls = 0;
        sharing.begin_round(0);
        while let Some(call) = sharing.next(0, &names(), 7) {
            let answer = node.call(&call);
            sharing.answered(0, &answer).unwrap();
            calls += 1;
        }
        calls
    };
    let mut machines = [1, 2].map(|instance| Sharing::new(Instance(instance), 62, 1));
    let [one, other] = &mut machines;
    for number in 0..1_000 {
        one.count(row(number), &RowSums::new(&[1, u64::from(number)]));
    }
    one.opened(0);
    other.opened(0);
    talk(one, &mut node);
    talk(other, &mut node);
    assert_eq!(other.take_risen().len(), 1_000);
    assert_eq!(other.others(&row(999)), RowSums::new(&[1, 999]));
    assert_eq!(one.take_risen(), [], "one's own are no others'");
    // After skipping its own rows, only new ones are transferred.
    talk(one, &mut node);
    assert_eq!((talk(one, &mut node), talk(other, &mut node)), (1, 1));
    other.count(row(5), &RowSums::new(&[3]));
    assert_eq!((talk(other, &mut node), talk(one, &mut node)), (2, 1));
    assert_eq!(one.take_risen(), [(row(5), RowSums::new(&[3]))]);
    // The first machine restores everything, including the rows of others.
    node.ok(&["FLUSHALL"]);
    talk(other, &mut node);
    let kept = memory(&mut node).rows;
    assert_eq!(kept.len(), 1_001);
}

/// The commands and keys listed in docs/internals/redlock.md.
#[test]
#[ignore = "starts redis-server"]
fn few_commands_and_keys_are_enough_for_a_user_of_an_acl() {
    let server = Server::start(&[]);
    let mut node = server.connect();
    let name = row(today(&mut node), 1, "s:a");
    // An additional row of an old day, which is removed.
    let [about, rows, order] = names().keys().clone();
    let old = row(1, 1, "s:a");
    node.ask(&["HSET", &about, "id", "a", "changes", "1"]);
    node.ask(&["HSET", &rows, &old, "1,"]);
    node.ask(&["ZADD", &order, "1", &old]);
    let commands = [
        "eval",
        "get",
        "set",
        "del",
        "pttl",
        "pexpire",
        "time",
        "zadd",
        "zscore",
        "zrange",
        "zrem",
        "zcard",
        "hget",
        "hmget",
        "hset",
        "hdel",
        "zrangebyscore",
        "expire",
    ];
    let commands = commands.map(|command| format!("+{command}"));
    let mut user = vec![
        "ACL",
        "SETUSER",
        "few",
        "on",
        "nopass",
        "~t:{@stats}:*",
        "-@all",
    ];
    user.extend(commands.iter().map(String::as_str));
    node.ok(&user);
    node.ok(&["AUTH", "few", "any"]);
    assert_eq!(share(&mut node, "b", &[(&name, "1,")]), said("a", 1));
    let told = node.call(&call(Script::Shared, &["a", "1", "9", ""]));
    let Value::Array(told) = told else {
        panic!("{told:?}");
    };
    assert_eq!(
        told[3..],
        [Value::Bytes(name.into()), Value::Bytes("1,".into())]
    );
}
