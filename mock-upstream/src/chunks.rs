//! The events of one chat completion stream.

use std::sync::Arc;

use crate::answer::{Answer, Call, Usage, quoted};
use crate::events::{DONE, Due};
use crate::fault::Fields;
use crate::ident;
use crate::script::Script;

const END: &[u8] = b"}\n\n";
/// What comes after the opening of an event is seldom longer.
const ROOM: usize = 128;
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
    opening: Vec<u8>,
    role: &'static [u8],
    /// What stands behind a delta that is not the last.
    goes_on: &'static [u8],
    stop: &'static str,
    usage: Option<Usage>,
    fields: Fields,
    obfuscate: bool,
    done: bool,
    words_taken: u64,
}

impl Chunks {
    pub(crate) fn new(answer: Answer, id: &str, created: u64) -> Self {
        let model = &answer.model;
        let full = answer.fields == Fields::Full;
        let mut opening = String::with_capacity(256 + model.len() + answer.service_tier.len());
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
            (Deltas::Text(answer.script), answer.words)
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
            opening: opening.into_bytes(),
            role,
            goes_on: goes_on(full, answer.include_usage),
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

    /// When the event is due that [`Chunks::write_next`] will give.
    pub(crate) fn due(&self) -> Option<Due> {
        Some(match self.next? {
            Event::Word { index, .. } => Due::Word(index),
            Event::Role { .. } | Event::Stop { .. } | Event::Usage | Event::Done => Due::Now,
        })
    }

    /// About how many bytes a stream of words has.
    pub(crate) fn size(&self) -> usize {
        let events = (self.words as usize + 2) * self.choices as usize;
        events * (self.opening.len() + ROOM)
    }

    /// Writes the next event.
    pub(crate) fn write_next(&mut self, out: &mut Vec<u8>) {
        let Some(event) = self.next else {
            return;
        };
        self.next = self.after(event);
        let start = out.len();
        match event {
            Event::Role { choice } => self.write_choice(out, choice, self.role, self.goes_on),
            Event::Word { index, choice } => {
                self.words_taken += 1;
                let delta = self.deltas.get(index, self.words);
                self.write_choice(out, choice, delta, self.goes_on);
            }
            Event::Stop { choice } => {
                self.write_choice(out, choice, b"{}", self.ending().as_bytes());
            }
            Event::Usage => {
                let usage = self.usage.map(|usage| usage.to_json(self.fields));
                out.extend_from_slice(&self.opening);
                out.extend_from_slice(b"],\"usage\":");
                out.extend_from_slice(usage.unwrap_or_default().as_bytes());
                out.extend_from_slice(END);
            }
            Event::Done => return out.extend_from_slice(DONE),
        }
        if self.obfuscate {
            obfuscate(out, start);
        }
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

    fn write_choice(&self, out: &mut Vec<u8>, choice: u32, delta: &[u8], rest: &[u8]) {
        let numbered;
        let start: &[u8] = if choice == 0 {
            b"{\"index\":0,\"delta\":"
        } else {
            numbered = format!("{{\"index\":{choice},\"delta\":");
            numbered.as_bytes()
        };
        let parts = [&self.opening, start, delta, rest];
        out.reserve(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            out.extend_from_slice(part);
        }
    }

    /// What stands behind the last delta.
    fn ending(&self) -> String {
        let logprobs = match self.fields {
            Fields::Full => ",\"logprobs\":null",
            Fields::Minimal => "",
        };
        let usage = self.usage.map_or("", |_| ",\"usage\":null");
        [
            logprobs,
            ",\"finish_reason\":\"",
            self.stop,
            "\"}]",
            usage,
            "}\n\n",
        ]
        .concat()
    }
}

/// What stands behind a delta, in chunks with all fields or few, with or without `usage`.
fn goes_on(full: bool, usage: bool) -> &'static [u8] {
    match (full, usage) {
        (true, true) => b",\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}\n\n",
        (true, false) => b",\"logprobs\":null,\"finish_reason\":null}]}\n\n",
        (false, true) => b",\"finish_reason\":null}],\"usage\":null}\n\n",
        (false, false) => b",\"finish_reason\":null}]}\n\n",
    }
}

/// Pads the last event, which began there.
fn obfuscate(event: &mut Vec<u8>, start: usize) {
    event.truncate(event.len() - END.len());
    event.extend_from_slice(b",\"obfuscation\":\"");
    let length = event.len() - start + 1 + END.len();
    let padding = PADDING - length % PADDING;
    event.extend((0..padding).map(|_| fastrand::alphanumeric() as u8));
    event.push(b'"');
    event.extend_from_slice(END);
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
