//! `POST /v1/completions`.

use axum::response::Response;

use crate::answer::Answer;
use crate::body::Reply;
use crate::events::{DONE, Due, Events, List};
use crate::fault::Fields;
use crate::head::Head;
use crate::ident;
use crate::metrics::Route;
use crate::routes::intake::{Arrived, serve_text};
use crate::validate;

pub(super) async fn post(arrived: Arrived) -> Response<Reply> {
    let check =
        |head: &Head<'_>, models: &[String]| validate::needs(head, "prompt", models).map(drop);
    let served = serve_text(arrived, Route::Completions, check, |answer| {
        // There are no tools here.
        answer.calls.clear();
        answer.usage.completion = u64::from(answer.words) * u64::from(answer.choices);
    });
    let (exchange, answer) = match served.await {
        Ok(arrived) => arrived,
        Err(refused) => return refused.answer(),
    };
    let completion = Completion {
        answer: &answer,
        id: ident::object_id("cmpl-"),
        created: exchange.at.as_secs(),
    };
    if answer.stream {
        let events = completion.events(answer.include_usage);
        return exchange.stream(Events::List(events));
    }
    let json = completion.whole();
    exchange.generated(json).await
}

struct Completion<'a> {
    answer: &'a Answer,
    id: String,
    created: u64,
}

impl Completion<'_> {
    fn whole(&self) -> String {
        let text = self.answer.escaped_text();
        let choices = (0..self.answer.choices).map(|index| self.choice(index, &text, true));
        let choices: Vec<String> = choices.collect();
        let usage = self.answer.usage.to_json(self.answer.fields);
        self.object(&choices.join(","), &format!(",\"usage\":{usage}"))
    }

    fn events(&self, include_usage: bool) -> List {
        let mut list = List::default();
        let usage = if include_usage { ",\"usage\":null" } else { "" };
        let event = |choice: &str, usage: &str| format!("data: {}\n\n", self.object(choice, usage));
        let words = self.answer.words;
        for word in 0..words {
            let text = self.answer.script.word(word, words);
            let text = text.map_or("", |word| &*word.escaped);
            for index in 0..self.answer.choices {
                let choice = self.choice(index, text, false);
                list.push(Due::Word(word), event(&choice, usage));
            }
        }
        for index in 0..self.answer.choices {
            list.push(Due::Now, event(&self.choice(index, "", true), usage));
        }
        if include_usage {
            let reported = self.answer.usage.to_json(self.answer.fields);
            list.push(Due::Now, event("", &format!(",\"usage\":{reported}")));
        }
        list.push(Due::Now, DONE);
        list
    }

    fn object(&self, choices: &str, usage: &str) -> String {
        let Self {
            answer,
            id,
            created,
        } = self;
        let model = &answer.model;
        let fingerprint = match self.answer.fields {
            Fields::Full => format!(",\"system_fingerprint\":\"{}\"", ident::FINGERPRINT),
            Fields::Minimal => String::new(),
        };
        format!(
            "{{\"id\":\"{id}\",\"object\":\"text_completion\",\"created\":{created},\
             \"model\":{model}{fingerprint},\"choices\":[{choices}]{usage}}}"
        )
    }

    fn choice(&self, index: u32, text: &str, last: bool) -> String {
        let finish = match last {
            true => format!("\"{}\"", self.answer.finish.as_str()),
            false => "null".to_owned(),
        };
        format!(
            "{{\"index\":{index},\"text\":\"{text}\",\"logprobs\":null,\"finish_reason\":{finish}}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Text};
    use crate::head::Head;

    fn with_completion<T>(body: &str, then: impl FnOnce(Completion<'_>, bool) -> T) -> T {
        let fault = Fault {
            text: Some(Text::new("say \"hi\"")),
            ..Fault::default()
        };
        let head = Head::read(body.as_bytes());
        let answer = Answer::to(&head, &fault);
        let completion = Completion {
            answer: &answer,
            id: "cmpl-1".into(),
            created: 7,
        };
        then(completion, answer.include_usage)
    }

    #[test]
    fn golden() {
        let whole = with_completion(r#"{"model":"m","n":2,"prompt":"x"}"#, |c, _| c.whole());
        insta::assert_snapshot!(whole, @r#"{"id":"cmpl-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"text":"say \"hi\"","logprobs":null,"finish_reason":"stop"},{"index":1,"text":"say \"hi\"","logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":4,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}"#);
        let body = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true}}"#;
        let events = with_completion(body, |c, usage| Events::List(c.events(usage)).collect());
        insta::assert_snapshot!(String::from_utf8_lossy(&events), @r#"
        data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"text":"say ","logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"text":"\"hi\"","logprobs":null,"finish_reason":null}],"usage":null}

        data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp_6d6f636b75","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"usage":null}

        data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"m","system_fingerprint":"fp_6d6f636b75","choices":[],"usage":{"prompt_tokens":0,"completion_tokens":2,"total_tokens":2,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}}

        data: [DONE]
        "#);
    }
}
