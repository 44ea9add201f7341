//! A case: what is sent, and what comes back.

use e2e::{Answer, Call};
use serde_json::Value;

use crate::bed::Bed;
use crate::shape::differences;

/// Who asks, and in which header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum As {
    /// Nobody: no token.
    Nobody,
    /// `Authorization: Bearer` with the service's token.
    Service,
    /// `Authorization: Bearer` with the administrator's token.
    Admin,
    /// `X-Service-Token` with the service's token.
    ServiceToken,
    /// `X-Service-Token` with the administrator's token.
    AdminToken,
    /// `Authorization: Bearer` with a token that nobody has.
    Stranger,
    /// `X-Service-Token` with a token that nobody has.
    StrangerToken,
}

impl As {
    fn header(self) -> Option<(&'static str, String)> {
        use crate::bed::{ADMIN, SERVICE};
        let bearer = |token: &str| Some(("authorization", format!("Bearer {token}")));
        let plain = |token: &str| Some(("x-service-token", token.to_owned()));
        match self {
            Self::Nobody => None,
            Self::Service => bearer(SERVICE),
            Self::Admin => bearer(ADMIN),
            Self::ServiceToken => plain(SERVICE),
            Self::AdminToken => plain(ADMIN),
            Self::Stranger => bearer("token-of-nobody-here"),
            Self::StrangerToken => plain("token-of-nobody-here"),
        }
    }
}

/// What is sent, and what comes back.
#[derive(Clone, Debug)]
pub struct Case {
    method: &'static str,
    path: String,
    who: As,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    status: u16,
    answers: Vec<(&'static str, &'static str)>,
    shape: Option<Value>,
    error: Option<(&'static str, Option<&'static str>, Option<&'static str>)>,
}

impl Case {
    /// Nobody sends this, and it is a 200.
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            who: As::Nobody,
            headers: Vec::new(),
            body: None,
            status: 200,
            answers: Vec::new(),
            shape: None,
            error: None,
        }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// A POST of JSON.
    pub fn post(path: impl Into<String>, body: impl ToString) -> Self {
        Self::new("POST", path)
            .with("content-type", "application/json")
            .body(body)
    }

    pub fn by(self, who: As) -> Self {
        Self { who, ..self }
    }

    /// Sends a header field too.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn body(self, body: impl ToString) -> Self {
        let body = Some(body.to_string());
        Self { body, ..self }
    }

    /// The answer has this header field: a value, or `<any>`, `<seconds>`, or `<none>`.
    pub fn answers(mut self, name: &'static str, value: &'static str) -> Self {
        self.answers.push((name, value));
        self
    }

    /// The answer is JSON of this shape.
    pub fn shape(self, shape: Value) -> Self {
        Self {
            shape: Some(shape),
            ..self
        }
    }

    /// The answer is an error in OpenAI's form, of this type and code.
    pub fn error(
        self,
        status: u16,
        kind: &'static str,
        code: impl Into<Option<&'static str>>,
    ) -> Self {
        Self {
            status,
            error: Some((kind, code.into(), None)),
            ..self
        }
    }

    /// The error is about this parameter.
    pub fn about(mut self, param: &'static str) -> Self {
        if let Some(error) = &mut self.error {
            error.2 = Some(param);
        }
        self
    }

    /// What is sent.
    pub fn call(&self, bed: &Bed) -> Call {
        let mut call = Call::new(self.method, bed.url(&self.path));
        let token = self.who.header();
        for (name, value) in self.headers.iter().chain(&token) {
            call = call.header(name, value);
        }
        call.body(self.body.clone().unwrap_or_default())
    }

    /// What of an answer is not as it should be.
    pub fn judge(&self, answer: &Answer) -> Vec<String> {
        let mut wrong = Vec::new();
        if answer.status != self.status {
            wrong.push(format!("status {}, not {}", answer.status, self.status));
        }
        for &(name, wanted) in &self.answers {
            let value = answer.header(name);
            let fits = match wanted {
                "<any>" => value.is_some_and(|value| !value.is_empty()),
                "<none>" => value.is_none(),
                "<seconds>" => value.is_some_and(|v| v.parse::<u64>().is_ok_and(|s| s >= 1)),
                wanted => value == Some(wanted),
            };
            if !fits {
                wrong.push(format!("{name} is {value:?}, not {wanted:?}"));
            }
        }
        let json = serde_json::from_slice::<Value>(&answer.body).ok();
        if let Some(shape) = &self.shape {
            match &json {
                Some(json) => wrong.extend(differences(shape, json)),
                None => wrong.push("no JSON".to_owned()),
            }
        }
        if let Some((kind, code, param)) = self.error {
            let error = serde_json::json!({"error":
                {"message": "<text>", "type": kind, "param": param, "code": code}});
            match &json {
                Some(json) => wrong.extend(differences(&error, json)),
                None => wrong.push("no JSON".to_owned()),
            }
            let fields = json.as_ref().and_then(|json| json["error"].as_object());
            if fields.is_some_and(|fields| fields.len() != 4) {
                wrong.push("an error has four fields".to_owned());
            }
            if answer.header("content-type") != Some("application/json") {
                wrong.push(format!(
                    "content-type is {:?}",
                    answer.header("content-type")
                ));
            }
        }
        wrong
    }
}

/// Sends each case, and fails the test for all that are not answered as they should.
#[track_caller]
pub fn check(bed: &Bed, cases: &[Case]) {
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let answer = case.call(bed).send();
            let wrong = case.judge(&answer);
            (!wrong.is_empty()).then(|| report(case, &answer, &wrong))
        })
        .collect();
    let (failures, of) = (failed.len(), cases.len());
    assert!(
        failed.is_empty(),
        "{failures} of {of} cases:\n{}",
        failed.join("\n")
    );
}

fn report(case: &Case, answer: &Answer, wrong: &[String]) -> String {
    let body: String = String::from_utf8_lossy(&answer.body)
        .chars()
        .take(400)
        .collect();
    let Case {
        method, path, who, ..
    } = case;
    format!(
        "- {method} {path} ({who:?}): {}\n    {body}",
        wrong.join("; ")
    )
}
