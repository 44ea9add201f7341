//! `POST /v1/audio/transcriptions` and `translations`: the text, whatever was said.

use axum::response::Response;
use serde_json::json;

use crate::answer::Answer;
use crate::body::Reply;
use crate::metrics::Route;
use crate::routes::intake::{Arrived, Decided, serve};

/// A word takes so many seconds to say.
const SECONDS_OF_A_WORD: f64 = 0.4;

pub(super) async fn transcribe(arrived: Arrived) -> Response<Reply> {
    let served = serve(arrived, Route::Audio, |_, fault, head| {
        let answer = Answer::to(head, fault);
        Ok(Decided {
            prompt_tokens: answer.usage.prompt,
            completion_tokens: u64::from(answer.words),
            answer,
        })
    });
    let (exchange, answer) = match served.await {
        Ok(arrived) => arrived,
        Err(refused) => return refused.answer(),
    };
    let text = format!("\"{}\"", answer.escaped_text());
    let text: String = serde_json::from_str(&text).unwrap_or_default();
    let seconds = f64::from(answer.words) * SECONDS_OF_A_WORD;
    let plain = "text/plain; charset=utf-8";
    match form_field(&exchange.body, "response_format").as_deref() {
        Some("text") => exchange.other(plain, text + "\n"),
        Some("srt") => {
            let end = stamp(seconds, ',');
            exchange.other(plain, format!("1\n00:00:00,000 --> {end}\n{text}\n\n"))
        }
        Some("vtt") => {
            let end = stamp(seconds, '.');
            exchange.other(
                plain,
                format!("WEBVTT\n\n00:00:00.000 --> {end}\n{text}\n\n"),
            )
        }
        Some("verbose_json") => {
            let verbose = json!({
                "task": "transcribe",
                "language": "english",
                "duration": seconds,
                "text": text,
                "segments": [{
                    "id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": text, "tokens": [],
                    "temperature": 0.0, "avg_logprob": -0.2, "compression_ratio": 1.0,
                    "no_speech_prob": 0.01,
                }],
                "usage": {"type": "duration", "seconds": seconds.ceil()},
            });
            exchange.generated(verbose.to_string()).await
        }
        _ => {
            let usage = answer.usage;
            let brief = json!({
                "text": text,
                "usage": {
                    "type": "tokens",
                    "input_tokens": usage.prompt,
                    "input_token_details": {"text_tokens": 0, "audio_tokens": usage.prompt},
                    "output_tokens": answer.words,
                    "total_tokens": usage.prompt + u64::from(answer.words),
                },
            });
            exchange.generated(brief.to_string()).await
        }
    }
}

/// A time as subtitles have it.
fn stamp(seconds: f64, point: char) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{hours:02}:{minutes:02}:{:02}{point}{millis:03}",
        seconds % 60
    )
}

/// The value of a short field of a multipart form.
fn form_field(body: &[u8], name: &str) -> Option<String> {
    let mark = format!("name=\"{name}\"\r\n");
    let at = find(body, mark.as_bytes())? + mark.len();
    let value = &body[at + find(&body[at..], b"\r\n")? + 2..];
    let value = &value[..find(value, b"\r\n")?];
    String::from_utf8(value.to_vec()).ok()
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_field_of_a_form() {
        let form = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n\
                     --x\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\nsrt\r\n--x--\r\n";
        assert_eq!(form_field(form, "response_format").as_deref(), Some("srt"));
        assert_eq!(form_field(form, "model").as_deref(), Some("whisper-1"));
        assert_eq!(form_field(form, "language"), None);
        assert_eq!(form_field(b"", "model"), None);
    }

    #[test]
    fn writes_times_as_subtitles_do() {
        assert_eq!(stamp(1.2, ','), "00:00:01,200");
        assert_eq!(stamp(3723.4, '.'), "01:02:03.400");
    }
}
