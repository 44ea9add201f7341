//! `POST /v1/responses`.

use axum::response::Response;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::body::Reply;
use crate::events::{Due, Events, List};
use crate::fault::FinishReason;
use crate::head::Head;
use crate::ident;
use crate::metrics::Route;
use crate::routes::intake::{Arrived, serve_text};
use crate::validate;

pub(super) async fn post(arrived: Arrived) -> Response<Reply> {
    let check =
        |head: &Head<'_>, models: &[String]| validate::needs(head, "input", models).map(drop);
    let served = serve_text(arrived, Route::Responses, check, |answer| {
        // There is one answer here, whatever `n` says.
        answer.usage.completion /= u64::from(answer.choices);
        answer.choices = 1;
    });
    let (exchange, answer) = match served.await {
        Ok(arrived) => arrived,
        Err(refused) => return refused.answer(),
    };
    let response = ResponseObject::new(&answer, exchange.at.as_secs());
    if answer.stream {
        return exchange.stream(Events::List(response.events()));
    }
    let json = response
        .object("completed", &response.items, true)
        .to_string();
    exchange.generated(json).await
}

/// A response object on its way.
struct ResponseObject<'a> {
    answer: &'a Answer,
    model: Value,
    id: String,
    message_id: String,
    created: u64,
    items: Vec<Value>,
}

impl<'a> ResponseObject<'a> {
    fn new(answer: &'a Answer, created: u64) -> Self {
        let mut object = Self {
            answer,
            model: serde_json::from_str(&answer.model).unwrap_or_default(),
            id: ident::object_id("resp_"),
            message_id: ident::object_id("msg_"),
            created,
            items: Vec::new(),
        };
        object.items = object.items("completed");
        object
    }

    fn text(&self) -> String {
        serde_json::from_str(&format!("\"{}\"", self.answer.escaped_text())).unwrap_or_default()
    }

    fn items(&self, status: &str) -> Vec<Value> {
        if self.answer.calls.is_empty() {
            return vec![self.message(status, &[part(&self.text())])];
        }
        let calls = self.answer.calls.iter();
        calls
            .map(|call| call_item(call, status, &call.arguments))
            .collect()
    }

    fn message(&self, status: &str, content: &[Value]) -> Value {
        json!({"id": self.message_id, "type": "message", "status": status, "role": "assistant",
               "content": content})
    }

    fn object(&self, status: &str, output: &[Value], over: bool) -> Value {
        let cut_short = match self.answer.finish {
            FinishReason::Length if over => Some("max_output_tokens"),
            FinishReason::ContentFilter if over => Some("content_filter"),
            _ => None,
        };
        let status = if cut_short.is_some() {
            "incomplete"
        } else {
            status
        };
        let usage = self.answer.usage;
        let usage = json!({
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.total(),
        });
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": cut_short.map(|reason| json!({"reason": reason})),
            "instructions": null,
            "max_output_tokens": null,
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": {"effort": null, "summary": null},
            "service_tier": &*self.answer.service_tier,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": if over { usage } else { Value::Null },
            "user": null,
            "metadata": {},
        })
    }

    fn events(&self) -> List {
        let mut script = Script::default();
        for kind in ["response.created", "response.in_progress"] {
            let response = self.object("in_progress", &[], false);
            script.say(Due::Now, kind, json!({"response": response}));
        }
        if self.answer.calls.is_empty() {
            self.say_text(&mut script);
        } else {
            self.say_calls(&mut script);
        }
        let response = self.object("completed", &self.items, true);
        let kind = match response["status"].as_str() {
            Some("incomplete") => "response.incomplete",
            _ => "response.completed",
        };
        script.say(Due::Now, kind, json!({"response": response}));
        script.list
    }

    fn say_text(&self, script: &mut Script) {
        let id = &self.message_id;
        let item = self.message("in_progress", &[]);
        let added = json!({"output_index": 0, "item": item});
        script.say(Due::Now, "response.output_item.added", added);
        let place = json!({"item_id": id, "output_index": 0, "content_index": 0});
        let with = |name: &str, value: Value| {
            let mut event = place.clone();
            event[name] = value;
            event
        };
        let added = with("part", part(""));
        script.say(Due::Now, "response.content_part.added", added);
        let words = self.answer.words;
        for index in 0..words {
            let word = self.answer.script.word(index, words);
            let word = word.map_or_else(String::new, |word| format!("\"{}\"", word.escaped));
            let mut delta = with("delta", serde_json::from_str(&word).unwrap_or_default());
            delta["logprobs"] = json!([]);
            if self.answer.obfuscate {
                delta["obfuscation"] = ident::object_id("").into();
            }
            script.say(Due::Word(index), "response.output_text.delta", delta);
        }
        let mut done = with("text", self.text().into());
        done["logprobs"] = json!([]);
        script.say(Due::Now, "response.output_text.done", done);
        let done = with("part", part(&self.text()));
        script.say(Due::Now, "response.content_part.done", done);
        let done = json!({"output_index": 0, "item": self.items[0]});
        script.say(Due::Now, "response.output_item.done", done);
    }

    fn say_calls(&self, script: &mut Script) {
        let mut token = 0;
        for (index, call) in self.answer.calls.iter().enumerate() {
            let place = json!({"item_id": item_id(call), "output_index": index});
            let item = call_item(call, "in_progress", "");
            let added = json!({"output_index": index, "item": item});
            script.say(Due::Word(token), "response.output_item.added", added);
            for piece in call.fragments() {
                token += 1;
                let mut delta = place.clone();
                delta["delta"] = piece.into();
                let kind = "response.function_call_arguments.delta";
                script.say(Due::Word(token), kind, delta);
            }
            token += 1;
            let mut done = place;
            done["arguments"] = (*call.arguments).into();
            done["name"] = serde_json::from_str(&call.name).unwrap_or_default();
            script.say(Due::Now, "response.function_call_arguments.done", done);
            let done = json!({"output_index": index, "item": self.items[index]});
            script.say(Due::Now, "response.output_item.done", done);
        }
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

fn item_id(call: &crate::answer::Call) -> String {
    call.id.replacen("call_", "fc_", 1)
}

fn call_item(call: &crate::answer::Call, status: &str, arguments: &str) -> Value {
    let name: Value = serde_json::from_str(&call.name).unwrap_or_default();
    json!({"id": item_id(call), "type": "function_call", "status": status, "call_id": call.id,
           "name": name, "arguments": arguments})
}

/// Events with their numbers.
#[derive(Default)]
struct Script {
    list: List,
    number: u64,
}

impl Script {
    fn say(&mut self, due: Due, kind: &str, mut event: Value) {
        event["type"] = kind.into();
        event["sequence_number"] = self.number.into();
        self.number += 1;
        self.list
            .push(due, format!("event: {kind}\ndata: {event}\n\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::{Fault, Text};
    use crate::head::Head;
    use crate::settings::Settings;

    fn kinds(settings: &[(&str, &str)]) -> (Vec<String>, Vec<Value>) {
        let mut fault = Fault {
            text: Some(Text::new("say \"hi\"")),
            ..Fault::default()
        };
        for (name, value) in settings {
            fault.set(name, value).expect(name);
        }
        let head = Head::read(br#"{"model":"m","input":"x"}"#);
        let answer = Answer::to(&head, &fault);
        let stream = Events::List(ResponseObject::new(&answer, 7).events()).collect();
        let stream = String::from_utf8(stream.to_vec()).expect("UTF-8");
        let events = stream.split("\n\n").filter(|event| !event.is_empty());
        let events = events.map(|event| {
            let (kind, data) = event.split_once("\ndata: ").expect("an event");
            let data: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(kind.strip_prefix("event: "), data["type"].as_str());
            (data["type"].as_str().expect("a type").to_owned(), data)
        });
        events.unzip()
    }

    #[test]
    fn a_text_is_sent_in_the_order_of_the_real_api() {
        let (kinds, events) = kinds(&[]);
        insta::assert_snapshot!(kinds.join("\n"), @"
        response.created
        response.in_progress
        response.output_item.added
        response.content_part.added
        response.output_text.delta
        response.output_text.delta
        response.output_text.done
        response.content_part.done
        response.output_item.done
        response.completed
        ");
        let numbers: Vec<_> = events
            .iter()
            .filter_map(|e| e["sequence_number"].as_u64())
            .collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        let said: String = events.iter().filter_map(|e| e["delta"].as_str()).collect();
        assert_eq!(said, "say \"hi\"");
        let last = &events.last().expect("an end")["response"];
        assert_eq!(last["output"][0]["content"][0]["text"], "say \"hi\"");
        assert_eq!(last["usage"]["output_tokens"], 2);
    }

    #[test]
    fn calls_are_sent_piece_by_piece() {
        let (kinds, events) = kinds(&[("tool-calls", "1"), ("tool-arguments", "{\"a\":123}")]);
        insta::assert_snapshot!(kinds.join("\n"), @"
        response.created
        response.in_progress
        response.output_item.added
        response.function_call_arguments.delta
        response.function_call_arguments.delta
        response.function_call_arguments.done
        response.output_item.done
        response.completed
        ");
        let said: String = events.iter().filter_map(|e| e["delta"].as_str()).collect();
        assert_eq!(said, "{\"a\":123}");
    }

    #[test]
    fn what_is_cut_short_is_incomplete() {
        let (kinds, events) = kinds(&[("finish-reason", "length")]);
        assert_eq!(
            kinds.last().map(String::as_str),
            Some("response.incomplete")
        );
        let response = &events.last().expect("an end")["response"];
        assert_eq!(
            response["incomplete_details"]["reason"],
            "max_output_tokens"
        );
    }
}
