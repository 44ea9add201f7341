//! Model of a node for shared stats: the scripts, reimplemented in Rust.

use std::collections::BTreeMap;

use openai_core::redlock::{Script, ScriptCall, Value};

/// The stats on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub id: Option<String>,
    pub changes: u64,
    pub rows: BTreeMap<String, Vec<u64>>,
    pub order: BTreeMap<u64, String>,
}

pub fn text(sums: &[u64]) -> String {
    let one = |&sum: &u64| match sum {
        0 => ",".into(),
        sum => format!("{sum},"),
    };
    sums.iter().map(one).collect()
}

fn sums(text: &str) -> Vec<u64> {
    let sums = text.strip_suffix(',').unwrap().split(',');
    sums.map(|sum| {
        if sum.is_empty() {
            0
        } else {
            sum.parse().unwrap()
        }
    })
    .collect()
}

fn bytes(text: impl Into<String>) -> Value {
    Value::Bytes(text.into().into_bytes())
}

impl Memory {
    /// Runs a call on the given day of the node's clock.
    pub fn run(&mut self, call: &ScriptCall, today: i64) -> Value {
        match call.script {
            Script::Share => self.share(&call.args, today),
            Script::Shared => self.shared(&call.args),
            other => panic!("{other:?}"),
        }
    }

    fn share(&mut self, args: &[String], today: i64) -> Value {
        let keep: i64 = args[1].parse().unwrap();
        let id = match &self.id {
            Some(id) => id.clone(),
            None => {
                *self = Self::default();
                args[0].clone()
            }
        };
        self.id = Some(id.clone());
        let is_kept = |name: &str| {
            let day: i64 = name.split(':').next().unwrap().parse().unwrap();
            day >= today - keep && day <= today + 1
        };
        let mut count = 0;
        for pair in args[2..].chunks(2) {
            let known = self.rows.get(&pair[0]).cloned().unwrap_or_default();
            let mut highest = known.clone();
            for (at, sum) in sums(&pair[1]).into_iter().enumerate() {
                highest.resize(highest.len().max(at + 1), 0);
                highest[at] = highest[at].max(sum);
            }
            let rises =
                (0..highest.len()).any(|at| highest[at] > known.get(at).copied().unwrap_or(0));
            if rises && is_kept(&pair[0]) {
                self.changes += 1;
                self.order.retain(|_, name| *name != pair[0]);
                self.order.insert(self.changes, pair[0].clone());
                self.rows.insert(pair[0].clone(), highest);
                count += 1;
            }
        }
        let eldest = self.order.clone().into_iter().take(count + 8);
        for (change, name) in eldest.filter(|(_, name)| !is_kept(name)) {
            self.order.remove(&change);
            self.rows.remove(&name);
        }
        Value::Array(vec![bytes(id), Value::Int(count as i64)])
    }

    fn shared(&self, args: &[String]) -> Value {
        let Some(id) = &self.id else {
            return Value::Array(vec![bytes(""), bytes("0"), Value::Int(0)]);
        };
        let mut upto: u64 = if *id == args[0] {
            args[1].parse().unwrap()
        } else {
            0
        };
        let most: usize = args[2].parse().unwrap();
        let found: Vec<_> = self.order.range(upto + 1..).take(most).collect();
        let mut rows = vec![];
        for &(change, name) in &found {
            upto = *change;
            let behind = name.split_once(':').unwrap().1;
            if args[3].is_empty() || !behind.starts_with(&args[3]) {
                rows.extend([bytes(name.clone()), bytes(text(&self.rows[name]))]);
            }
        }
        let mut answer = vec![
            bytes(id.clone()),
            bytes(upto.to_string()),
            Value::Int(i64::from(found.len() == most)),
        ];
        answer.extend(rows);
        Value::Array(answer)
    }
}
