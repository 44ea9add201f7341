//! The tokenizer against `serde_json`: random documents, cut at random points.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{JsonFault, JsonKind, MAX_DEPTH, Reader, Tokenizer};

/// A call of one of the reader's methods.
#[derive(Debug, Clone, PartialEq)]
enum Event {
    Key(String),
    Scalar(Value),
    /// A string or a number, before its text.
    Begin(JsonKind),
    Open(JsonKind),
    Member,
    Close,
    Fault(JsonFault),
}

/// Records the calls, and checks the depths and indexes.
#[derive(Debug, Default)]
struct Recorder<const STRICT: bool> {
    events: Vec<Event>,
    depth: usize,
    piece: Vec<u8>,
}

impl<const STRICT: bool> Recorder<STRICT> {
    fn text(text: Option<&[u8]>) -> String {
        String::from_utf8_lossy(text.expect("it is short enough")).into_owned()
    }
}

impl<const STRICT: bool> Reader for Recorder<STRICT> {
    const STRICT: bool = STRICT;

    fn wants_key(&mut self, depth: usize) -> bool {
        assert_eq!(depth, self.depth);
        true
    }

    fn key(&mut self, key: Option<&[u8]>, depth: usize) {
        assert_eq!(depth, self.depth);
        self.events.push(Event::Key(Self::text(key)));
    }

    fn value(&mut self, kind: JsonKind, depth: usize, at: usize) -> bool {
        assert_eq!(depth, self.depth);
        let first: &[u8] = match kind {
            JsonKind::String => b"\"",
            JsonKind::Bool(true) => b"t",
            JsonKind::Bool(false) => b"f",
            JsonKind::Null => b"n",
            JsonKind::Number => b"-0123456789",
            JsonKind::Object => b"{",
            JsonKind::Array => b"[",
        };
        assert!(first.contains(&self.piece[at]));
        self.events.push(match kind {
            JsonKind::String | JsonKind::Number => Event::Begin(kind),
            JsonKind::Bool(value) => Event::Scalar(value.into()),
            JsonKind::Null => Event::Scalar(Value::Null),
            JsonKind::Object | JsonKind::Array => {
                self.depth += 1;
                Event::Open(kind)
            }
        });
        true
    }

    fn string(&mut self, text: Option<&[u8]>, end: usize) {
        assert_eq!(self.piece[end - 1], b'"');
        self.events.push(Event::Scalar(Self::text(text).into()));
    }

    fn number(&mut self, value: Option<u64>) {
        self.events.push(Event::Scalar(value.into()));
    }

    fn end_member(&mut self, depth: usize, at: usize) {
        assert_eq!(depth, self.depth);
        assert!(b",]}".contains(&self.piece[at]));
        self.events.push(Event::Member);
    }

    fn close(&mut self, depth: usize) {
        self.depth = self.depth.saturating_sub(1);
        assert_eq!(depth, self.depth);
        self.events.push(Event::Close);
    }

    fn fault(&mut self, fault: JsonFault) {
        self.events.push(Event::Fault(fault));
    }
}

const KEPT: usize = 1024;

/// The events of a text in pieces that end at `cuts`, and whether it is complete.
fn read<const STRICT: bool>(
    mut json: Tokenizer<KEPT>,
    text: &[u8],
    cuts: impl IntoIterator<Item = usize>,
) -> (Vec<Event>, bool) {
    let mut recorder = Recorder::<STRICT>::default();
    let mut done = 0;
    for cut in cuts.into_iter().chain([text.len()]) {
        let cut = cut.clamp(done, text.len());
        recorder.piece = text[done..cut].to_vec();
        json.feed(&text[done..cut], 0, &mut recorder);
        done = cut;
    }
    (recorder.events, json.is_complete())
}

/// The value that the events describe, with `null` for numbers that are not whole or are negative.
fn built(events: &[Event]) -> Option<Value> {
    let mut open: Vec<(Option<String>, Value)> = vec![(None, Value::Null)];
    for event in events {
        let value = match event {
            Event::Key(key) => {
                open.last_mut()?.0 = Some(key.clone());
                continue;
            }
            Event::Open(JsonKind::Object) => {
                open.push((None, Map::new().into()));
                continue;
            }
            Event::Open(_) => {
                open.push((None, Value::Array(vec![])));
                continue;
            }
            Event::Begin(_) | Event::Member => continue,
            Event::Fault(_) => return None,
            Event::Scalar(value) => value.clone(),
            Event::Close => open.pop()?.1,
        };
        let (key, parent) = open.last_mut()?;
        match parent {
            Value::Array(items) => items.push(value),
            Value::Object(members) => drop(members.insert(key.take()?, value)),
            _ => *parent = value,
        }
    }
    (open.len() == 1)
        .then(|| open.pop())?
        .map(|(_, value)| value)
}

/// The value with `null` for numbers that are not whole or are negative.
fn only_whole(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_u64().into(),
        Value::Array(items) => items.into_iter().map(only_whole).collect(),
        Value::Object(members) => {
            let whole = |(key, value)| (key, only_whole(value));
            Value::Object(members.into_iter().map(whole).collect())
        }
        other => other,
    }
}

/// The value with `null` also for `u64::MAX`: the tokenizer reports it for all numbers of
/// more than 64 bits, which `serde_json` reads as floats.
fn only_small(value: Value) -> Value {
    match only_whole(value) {
        Value::Number(number) if number.as_u64() == Some(u64::MAX) => Value::Null,
        Value::Array(items) => items.into_iter().map(only_small).collect(),
        Value::Object(members) => {
            let small = |(key, value)| (key, only_small(value));
            Value::Object(members.into_iter().map(small).collect())
        }
        other => other,
    }
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c\"\\\\/\n{}\\[\\]:,é\u{1F600}]{0,40}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            objects(inner),
        ]
    })
}

fn objects(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-d\"\\\\é\u{1F600}]{0,20}", inner, 0..5)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

/// A document as text: compact or pretty, with or without escapes for all characters beyond ASCII.
fn texts() -> impl Strategy<Value = String> {
    (objects(values()), any::<bool>(), any::<bool>()).prop_map(|(document, pretty, ascii)| {
        let text = match pretty {
            true => serde_json::to_string_pretty(&document),
            false => serde_json::to_string(&document),
        };
        let text = text.expect("JSON");
        if !ascii {
            return text;
        }
        let escaped = text.chars().flat_map(|char| {
            let mut units = [0; 2];
            let units = char.encode_utf16(&mut units).iter();
            let units = units.map(|unit| match unit {
                0..0x80 => (*unit as u8 as char).to_string(),
                _ => format!("\\u{unit:04x}"),
            });
            units.collect::<Vec<_>>()
        });
        escaped.collect()
    })
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..8)
}

fn places(cuts: &[prop::sample::Index], text: &str) -> Vec<usize> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
    places.sort_unstable();
    places
}

/// Beginnings of the messages of `serde_json` for inputs that the tokenizer accepts.
const TAKEN_MORE_LIGHTLY: [&str; 6] = [
    "control character",
    "invalid unicode code point",
    "lone leading surrogate",
    "number out of range",
    "recursion limit exceeded",
    "unexpected end of hex escape",
];

proptest! {
    #[test]
    fn a_document_is_what_a_parser_finds(text in texts(), cuts in cuts()) {
        let cuts = places(&cuts, &text);
        let wanted = only_whole(serde_json::from_str(&text).expect("JSON"));
        let (events, complete) = read::<true>(Tokenizer::new(), text.as_bytes(), cuts.clone());
        prop_assert!(complete);
        prop_assert_eq!(built(&events), Some(wanted));
        for tokenizer in [Tokenizer::new(), Tokenizer::at_value()] {
            let (lenient, _) = read::<false>(tokenizer, text.as_bytes(), cuts.clone());
            prop_assert_eq!(&lenient, &events);
        }
        let (singly, complete) = read::<true>(Tokenizer::new(), text.as_bytes(), 0..text.len());
        prop_assert!(complete);
        prop_assert_eq!(singly, events);
    }

    #[test]
    fn only_json_is_complete(text in texts(), at: prop::sample::Index, byte: u8, removes: bool) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        if removes {
            bytes.remove(at);
        } else {
            bytes[at] = byte;
        }
        let (events, complete) = read::<true>(Tokenizer::new(), &bytes, [at]);
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => {
                prop_assert_eq!(complete, value.is_object());
                prop_assert!(!complete || built(&events).map(only_small) == Some(only_small(value)));
            }
            Err(error) => {
                let error = error.to_string();
                let light = TAKEN_MORE_LIGHTLY.iter().any(|begin| error.starts_with(begin));
                prop_assert!(light || !complete, "{}", error);
            }
        }
    }

    #[test]
    fn cuts_change_nothing_in_any_bytes(
        bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0e1-.tn \na".to_vec()), 0..60),
    ) {
        let text = [b"{\"a\":", &bytes[..]].concat();
        let events = |cuts: &mut dyn Iterator<Item = usize>| {
            let strict = read::<true>(Tokenizer::new(), &text, &mut *cuts);
            let is_valid = |event: &Event| !matches!(event, Event::Fault(_));
            // The index in a fault depends on the piece.
            strict.0.into_iter().filter(is_valid).collect::<Vec<_>>()
        };
        prop_assert_eq!(events(&mut (0..text.len())), events(&mut std::iter::empty()));
        let (singly, _) = read::<false>(Tokenizer::at_value(), &text, 0..text.len());
        let (whole, _) = read::<false>(Tokenizer::at_value(), &text, []);
        let is_valid = |event: &&Event| !matches!(event, Event::Fault(_));
        let singly: Vec<_> = singly.iter().filter(is_valid).collect();
        prop_assert_eq!(singly, whole.iter().filter(is_valid).collect::<Vec<_>>());
    }

    /// Strings in enclosing arrays cannot be distinguished from keys; values that have a key can.
    #[test]
    fn a_reader_may_begin_in_the_middle(text in texts(), at: prop::sample::Index, cuts in cuts()) {
        let named = |events: &[Event]| {
            let pairs = events.windows(2).filter_map(|pair| match pair {
                [Event::Key(key), value @ (Event::Scalar(_) | Event::Begin(_) | Event::Open(_))] => {
                    Some((Some(key.clone()), value.clone()))
                }
                [_, Event::Close] => Some((None, Event::Close)),
                _ => None,
            });
            pairs.collect::<Vec<_>>()
        };
        let (events, _) = read::<true>(Tokenizer::new(), text.as_bytes(), []);
        // Positions after a key, or inside a string.
        let quotes: Vec<_> = text.match_indices("\":").map(|(at, _)| at + 2).collect();
        prop_assume!(!quotes.is_empty());
        let from = quotes[at.index(quotes.len())];
        let (before, _) = read::<true>(Tokenizer::new(), &text.as_bytes()[..from], []);
        // Not inside a string.
        prop_assume!(matches!(before.last(), Some(Event::Key(_))));
        let rest = &text[from..];
        let (found, _) = read::<false>(Tokenizer::at_value(), rest.as_bytes(), places(&cuts, rest));
        prop_assert_eq!(named(&found), named(&events[before.len()..]));
    }
}

#[test]
fn what_is_longer_than_is_kept_is_told_as_none() {
    #[derive(Default)]
    struct Lengths(Vec<Option<usize>>);
    impl Reader for Lengths {
        fn wants_key(&mut self, _depth: usize) -> bool {
            true
        }
        fn key(&mut self, key: Option<&[u8]>, _depth: usize) {
            self.0.push(key.map(<[u8]>::len));
        }
        fn value(&mut self, _kind: JsonKind, _depth: usize, _at: usize) -> bool {
            true
        }
        fn string(&mut self, text: Option<&[u8]>, _end: usize) {
            self.0.push(text.map(<[u8]>::len));
        }
    }
    for (text, lengths) in [
        (r#"{"four":"five5"}"#, [Some(4), None]),
        (r#"{"\u0065four":"\n\n\n\n"}"#, [None, Some(4)]),
        (r#"{"":"\ud83d\ude00"}"#, [Some(0), Some(4)]),
    ] {
        for cut in 0..=text.len() {
            let (mut json, mut found) = (Tokenizer::<4>::new(), Lengths::default());
            json.feed(&text.as_bytes()[..cut], 0, &mut found);
            json.feed(text.as_bytes(), cut, &mut found);
            assert_eq!(found.0, lengths, "{text} cut at {cut}");
        }
    }
}

#[test]
fn numbers_of_more_than_64_bits_are_the_largest() {
    for (number, value) in [
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", Some(u64::MAX)),
        ("0", Some(0)),
        ("-1", None),
        ("1e3", None),
        ("1.0", None),
    ] {
        let text = format!("{{\"a\":{number}}}");
        let (events, _) = read::<true>(Tokenizer::new(), text.as_bytes(), [7]);
        let value = Event::Scalar(value.into());
        assert!(events.contains(&value), "{events:?}");
    }
}

#[test]
fn a_lenient_reader_may_nest_deeper_than_a_strict_one() {
    let levels = MAX_DEPTH + 88;
    let text = format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let (events, _) = read::<false>(Tokenizer::new(), text.as_bytes(), []);
    let closes = events.iter().filter(|event| **event == Event::Close);
    assert_eq!(closes.count(), levels + 1);
    let (events, complete) = read::<true>(Tokenizer::new(), text.as_bytes(), []);
    let deep = Event::Fault(JsonFault::TooDeep(5 + MAX_DEPTH - 1));
    assert_eq!((events.last(), complete), (Some(&deep), false));
}
