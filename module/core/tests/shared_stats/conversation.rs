//! What a node is asked, one call after the other.

use openai_core::redlock::share::{Instance, MOST_WRITTEN, RowId, RowSums, Sharing};
use openai_core::redlock::{ErrorKind, Script, ScriptCall, ShareNames, Value};

use crate::memory::Memory;

const TODAY: i64 = 20_000;

fn row() -> RowId {
    RowId {
        day: TODAY as u32,
        name: "s:app".into(),
    }
}

struct Bed {
    sharing: Sharing,
    names: ShareNames,
    node: Memory,
}

impl Bed {
    /// A node whose rows have been read: it had none.
    fn new() -> Self {
        let mut bed = Self {
            sharing: Sharing::new(Instance(1), 62, 1),
            names: ShareNames::new("").unwrap(),
            node: Memory::default(),
        };
        bed.sharing.opened(0);
        bed.round();
        bed
    }

    fn next(&mut self) -> Option<ScriptCall> {
        self.sharing.next(0, &self.names, 9)
    }

    fn answer(&mut self, call: &ScriptCall) {
        let answer = self.node.run(call, TODAY);
        self.sharing.answered(0, &answer).unwrap();
    }

    fn round(&mut self) {
        self.sharing.begin_round(0);
        while let Some(call) = self.next() {
            self.answer(&call);
        }
    }

    fn count(&mut self, sum: u64) {
        self.sharing.count(row(), &RowSums::new(&[sum]));
    }

    fn kept(&self) -> Vec<&[u64]> {
        self.node.rows.values().map(Vec::as_slice).collect()
    }
}

#[test]
fn what_is_counted_while_a_call_is_under_way_is_told_after_it() {
    let mut bed = Bed::new();
    bed.count(1);
    bed.sharing.begin_round(0);
    let call = bed.next().unwrap();
    assert_eq!(call.script, Script::Share);
    assert_eq!(bed.next(), None, "one at a time");
    bed.count(2);
    bed.answer(&call);
    assert_eq!(bed.kept(), [[1]]);
    assert!(!bed.sharing.is_even(0));
    bed.round();
    assert_eq!(bed.kept(), [[2]]);
    assert!(bed.sharing.is_even(0));
}

#[test]
fn a_node_that_refuses_is_asked_again_in_the_next_round_and_no_sooner() {
    let mut bed = Bed::new();
    bed.count(1);
    bed.sharing.begin_round(0);
    assert!(bed.next().is_some());
    let refusal = Value::Error(ErrorKind::OutOfMemory);
    let refused = bed.sharing.answered(0, &refusal);
    assert_eq!(refused, Err(ErrorKind::OutOfMemory));
    assert_eq!(bed.next(), None);
    bed.sharing.begin_round(0);
    let call = bed.next().unwrap();
    assert_eq!(call.script, Script::Share);
    bed.answer(&call);
    assert_eq!(bed.kept(), [[1]]);
}

#[test]
fn nothing_is_written_where_nothing_is_new() {
    let mut bed = Bed::new();
    bed.count(1);
    bed.round();
    let changes = bed.node.changes;
    for _ in 0..50 {
        bed.count(1);
        bed.sharing.begin_round(0);
        let call = bed.next().unwrap();
        assert_eq!(call.script, Script::Shared);
        bed.answer(&call);
        assert_eq!(bed.next(), None);
    }
    assert_eq!(bed.node.changes, changes);
}

#[test]
fn the_last_words_are_all_that_a_node_may_lack() {
    let mut bed = Bed::new();
    bed.count(1);
    bed.round();
    assert_eq!(bed.sharing.last_calls(0, &bed.names, 9), []);
    for number in 0..100 {
        let name = format!("s:{number}").into();
        let day = TODAY as u32;
        bed.sharing.count(RowId { day, name }, &RowSums::new(&[5]));
    }
    // One call is pending.
    bed.sharing.begin_round(0);
    assert!(bed.next().is_some());
    let calls = bed.sharing.last_calls(0, &bed.names, 9);
    assert_eq!(
        calls.len(),
        100_usize.div_ceil(MOST_WRITTEN),
        "no call is too long"
    );
    for call in calls {
        bed.node.run(&call, TODAY);
    }
    assert_eq!(bed.node.rows.len(), 101);
}

#[test]
fn what_no_machine_of_ours_wrote_is_passed_over() {
    let mut bed = Bed::new();
    let day = TODAY as u32;
    let bytes = |text: &str| Value::Bytes(text.into());
    let mut answer = vec![bytes("id"), bytes("7"), Value::Int(0)];
    for (name, sums) in [
        ("nonsense", "1,"),
        (&*format!("{day}:2:s:app"), "1,"),
        (&format!("{day}:000000000000000g:s:app"), "1,"),
        ("x:0000000000000002:s:app", "1,"),
        (&format!("{day}:0000000000000002:s:app"), "1"),
        (&format!("{day}:0000000000000002:s:app"), "x,"),
        (
            &format!("{day}:0000000000000002:s:app"),
            "99999999999999999999,",
        ),
        (&format!("{day}:0000000000000002:s:app"), ",4,"),
    ] {
        answer.extend([bytes(name), bytes(sums)]);
    }
    bed.sharing.begin_round(0);
    assert!(bed.next().is_some());
    bed.sharing.answered(0, &Value::Array(answer)).unwrap();
    assert_eq!(bed.sharing.take_risen(), [(row(), RowSums::new(&[0, 4]))]);
    for garbage in [Value::Nil, Value::Int(1), Value::Array(vec![]), bytes("7")] {
        bed.sharing.begin_round(0);
        assert!(bed.next().is_some());
        let answered = bed.sharing.answered(0, &garbage);
        assert_eq!(answered, Err(ErrorKind::Garbage), "{garbage:?}");
    }
}
