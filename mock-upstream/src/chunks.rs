//! The events of one chat completion stream.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::answer::{Answer, Call, Usage, quoted};
use crate::events::{DONE, Due};
use crate::fault::Fields;
use crate::ident;
use crate::script::Script;

const FULL_LOGPROBS: &[u8] = b",\"logprobs\":null";
const GOES_ON: &[u8] = b",\"finish_reason\":null}]";
const END: &[u8] = b"}\n\n";
/// Events are written into buffers of so many bytes.
const BUFFER_SIZE: usize = 16 << 10;
/// With its obfuscation every event is padded to a multiple of so many bytes.
const PADDING: usize = 32;

/// What comes next in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Role { choice: u32 },
    Word { index: u32, choice: u32 },
    Stop { choice: u32 },
    Usage,
    Done,
}

/// What the words are.
#[derive(Debug)]
enum Deltas {
    Text(Arc<Script>),
    Calls(Vec<Box<[u8]>>),
}

/// The events of one stream, in order, each made when it is due.
#[derive(Debug)]
pub(crate) struct Chunks {
    deltas: Deltas,
    words: u32,
    choices: u32,
    next: Option<Event>,
    /// What every chunk begins with, up to the array of choices.
    opening: Box<[u8]>,
    role: &'static [u8],
    /// What stands between a delta and its reason to end.
    logprobs: &'static [u8],
    stop: &'static str,
    usage: Option<Usage>,
    fields: Fields,
    obfuscate: bool,
    done: bool,
    words_taken: u64,
}

thread_local! {
    /// Where all events of a thread are written. Room whose events have left is used again.
    static BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(BUFFER_SIZE));
}

impl Chunks {
    pub(crate) fn new(answer: &Answer, id: &str, created: u64) -> Self {
        let model = &answer.model;
        let full = answer.fields == Fields::Full;
        let mut opening = String::with_capacity(256 + model.len());
        for part in [
            "data: {\"id\":\"",
            id,
            "\",\"object\":\"chat.completion.chunk\",\"created\":",
            itoa::Buffer::new().format(created),
            ",\"model\":",
            model,
        ] {
            opening.push_str(part);
        }
        if full {
            for part in [
                ",\"service_tier\":\"",
                &answer.service_tier,
                "\",\"system_fingerprint\":\"",
                ident::FINGERPRINT,
                "\"",
            ] {
                opening.push_str(part);
            }
        }
        opening.push_str(",\"choices\":[");
        let (deltas, words) = if answer.calls.is_empty() {
            (Deltas::Text(Arc::clone(&answer.script)), answer.words)
        } else {
            let deltas = call_deltas(&answer.calls);
            let words = u32::try_from(deltas.len()).unwrap_or(u32::MAX);
            (Deltas::Calls(deltas), words)
        };
        let role: &[u8] = match (&deltas, full) {
            (Deltas::Calls(_), _) => br#"{"role":"assistant","content":null}"#,
            (Deltas::Text(_), true) => br#"{"role":"assistant","content":"","refusal":null}"#,
            (Deltas::Text(_), false) => br#"{"role":"assistant"}"#,
        };
        Self {
            deltas,
            words,
            choices: answer.choices,
            next: Some(Event::Role { choice: 0 }),
            opening: opening.into_bytes().into(),
            role,
            logprobs: if full { FULL_LOGPROBS } else { b"" },
            stop: answer.finish.as_str(),
            usage: answer.include_usage.then_some(answer.usage),
            fields: answer.fields,
            obfuscate: answer.obfuscate,
            done: true,
            words_taken: 0,
        }
    }

    pub(crate) fn without_done(&mut self) {
        self.done = false;
    }

    pub(crate) fn words_taken(&self) -> u64 {
        self.words_taken
    }

    /// When the event is due that [`Chunks::take`] will give.
    pub(crate) fn due(&self) -> Option<Due> {
        Some(match self.next? {
            Event::Word { index, .. } => Due::Word(index),
            Event::Role { .. } | Event::Stop { .. } | Event::Usage | Event::Done => Due::Now,
        })
    }

    /// The next event's bytes.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let event = self.next?;
        self.next = self.after(event);
        if event == Event::Done {
            return Some(Bytes::from_static(DONE));
        }
        self.words_taken += u64::from(matches!(event, Event::Word { .. }));
        Some(BUFFER.with_borrow_mut(|buffer| {
            self.write(event, buffer);
            buffer.split().freeze()
        }))
    }

    fn write(&self, event: Event, buffer: &mut BytesMut) {
        match event {
            Event::Role { choice } => self.write_choice(buffer, choice, self.role, None),
            Event::Word { index, choice } => {
                let delta = self.deltas.get(index, self.words);
                self.write_choice(buffer, choice, delta, None);
            }
            Event::Stop { choice } => self.write_choice(buffer, choice, b"{}", Some(self.stop)),
            Event::Usage => {
                let usage = self.usage.map(|usage| usage.to_json(self.fields));
                buffer.extend_from_slice(&self.opening);
                buffer.extend_from_slice(b"],\"usage\":");
                buffer.extend_from_slice(usage.unwrap_or_default().as_bytes());
            }
            Event::Done => {}
        }
        if self.obfuscate {
            obfuscate(buffer);
        }
        buffer.extend_from_slice(END);
    }

    fn after(&self, event: Event) -> Option<Event> {
        let word = |index| {
            if index < self.words {
                Event::Word { index, choice: 0 }
            } else {
                Event::Stop { choice: 0 }
            }
        };
        let last = self.choices - 1;
        match event {
            Event::Role { choice } if choice < last => Some(Event::Role { choice: choice + 1 }),
            Event::Role { .. } => Some(word(0)),
            Event::Word { index, choice } if choice < last => Some(Event::Word {
                index,
                choice: choice + 1,
            }),
            Event::Word { index, .. } => Some(word(index + 1)),
            Event::Stop { choice } if choice < last => Some(Event::Stop { choice: choice + 1 }),
            Event::Stop { .. } if self.usage.is_some() => Some(Event::Usage),
            Event::Stop { .. } | Event::Usage => self.done.then_some(Event::Done),
            Event::Done => None,
        }
    }

    fn write_choice(&self, buffer: &mut BytesMut, choice: u32, delta: &[u8], stop: Option<&str>) {
        // Room for all but obfuscation.
        buffer.reserve(self.opening.len() + delta.len() + 128);
        buffer.extend_from_slice(&self.opening);
        if choice == 0 {
            buffer.extend_from_slice(b"{\"index\":0,\"delta\":");
        } else {
            let start = format!("{{\"index\":{choice},\"delta\":");
            buffer.extend_from_slice(start.as_bytes());
        }
        buffer.extend_from_slice(delta);
        buffer.extend_from_slice(self.logprobs);
        match stop {
            None => buffer.extend_from_slice(GOES_ON),
            Some(reason) => {
                buffer.extend_from_slice(b",\"finish_reason\":\"");
                buffer.extend_from_slice(reason.as_bytes());
                buffer.extend_from_slice(b"\"}]");
            }
        }
        if self.usage.is_some() {
            buffer.extend_from_slice(b",\"usage\":null");
        }
    }
}

/// Pads an event that lacks only its end.
fn obfuscate(buffer: &mut BytesMut) {
    buffer.extend_from_slice(b",\"obfuscation\":\"");
    let length = buffer.len() + 1 + END.len();
    for _ in 0..PADDING - length % PADDING {
        buffer.extend_from_slice(&[fastrand::alphanumeric() as u8]);
    }
    buffer.extend_from_slice(b"\"");
}

impl Deltas {
    fn get(&self, index: u32, words: u32) -> &[u8] {
        let delta = match self {
            Self::Text(script) => script.word(index, words).map(|word| &word.delta),
            Self::Calls(deltas) => deltas.get(index as usize),
        };
        delta.map_or(b"{}", |delta| delta)
    }
}

/// For each call a delta with its name, and one for each piece of its arguments.
fn call_deltas(calls: &[Call]) -> Vec<Box<[u8]>> {
    let mut deltas = Vec::new();
    for (index, Call { id, name, .. }) in calls.iter().enumerate() {
        deltas.push(format!(
            "{{\"tool_calls\":[{{\"index\":{index},\"id\":\"{id}\",\"type\":\"function\",\
             \"function\":{{\"name\":{name},\"arguments\":\"\"}}}}]}}"
        ));
        for piece in calls[index].fragments() {
            deltas.push(format!(
                "{{\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":{}}}}}]}}",
                quoted(piece)
            ));
        }
    }
    deltas
        .into_iter()
        .map(|delta| delta.into_bytes().into())
        .collect()
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
