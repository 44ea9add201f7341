//! Chromium without a window, driven over the pipe of its DevTools protocol.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wait::patience;

/// Any program could be run as root by a page that breaks out of Chromium: the pages of these
/// tests are our own.
const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "about:blank",
];

/// A browser with one page.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    events: Vec<Value>,
    _dir: TempDir,
}

impl Browser {
    /// Starts Debian's Chromium.
    #[track_caller]
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("chromium-").tempdir();
        let dir = dir.expect("a temporary directory");
        // It reads commands from descriptor 3 and answers on 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null", "sh"])
            .arg("chromium")
            .arg(format!("--user-data-dir={}", dir.path().display()))
            .args(FLAGS)
            .env("HOME", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        let to = child.stdin.take().expect("a pipe");
        let out = child.stdout.take().expect("a pipe");
        let (reported, from) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(out).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON of Chromium");
                if reported.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            child,
            to,
            from,
            session: None,
            calls: 0,
            events: vec![],
            _dir: dir,
        };
        let page = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        browser.session = session.as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Makes a call of the DevTools protocol.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let mut call = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        let sent = write!(self.to, "{call}\0").and_then(|()| self.to.flush());
        sent.unwrap_or_else(|e| panic!("is chromium installed? `make deps` does it: {e}"));
        loop {
            let reported = self.from.recv_timeout(patience() * 4);
            let mut reported = reported.unwrap_or_else(|e| {
                panic!("{method}: {e} (is chromium installed? `make deps` does it)")
            });
            if reported["id"] == self.calls {
                assert!(reported["error"].is_null(), "{method}: {reported}");
                return reported["result"].take();
            }
            self.events.push(reported);
        }
    }

    /// Opens an address.
    #[track_caller]
    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.wait("document.readyState === 'complete'");
    }

    /// The value of an expression in the page.
    #[track_caller]
    pub fn eval(&mut self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut reported = self.call("Runtime.evaluate", params);
        assert!(
            reported["exceptionDetails"].is_null(),
            "{expression}: {}",
            reported["exceptionDetails"]
        );
        reported["result"]["value"].take()
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        self.wait_for(expression, |browser| browser.eval(expression) == true);
    }

    /// The text of what a selector finds, as a reader sees it.
    #[track_caller]
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!(
            "[...document.querySelectorAll({selector:?})].map((node) => node.innerText).join('\\n')"
        ));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the text of what a selector finds contains another.
    #[track_caller]
    pub fn wait_text(&mut self, selector: &str, text: &str) {
        let what = format!("{selector} shows {text:?}");
        self.wait_for(&what, |browser| browser.text(selector).contains(text));
    }

    /// Chromium is many processes: on a busy machine it takes its time.
    #[track_caller]
    fn wait_for(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + patience() * 4;
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "timed out waiting until {what}: {}",
                self.eval("document.body.innerText")
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The roles of what assistive technology finds in the page.
    #[track_caller]
    pub fn roles(&mut self) -> BTreeSet<String> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().expect("a tree").iter();
        let seen = nodes.filter(|node| node["ignored"] == false);
        let roles = seen.filter_map(|node| node["role"]["value"].as_str());
        roles.map(str::to_owned).collect()
    }

    /// Types a text, by the keyboard.
    #[track_caller]
    pub fn type_text(&mut self, text: &str) {
        for letter in text.chars() {
            let key = json!({ "type": "keyDown", "text": letter.to_string() });
            self.call("Input.dispatchKeyEvent", key);
            self.call("Input.dispatchKeyEvent", json!({ "type": "keyUp" }));
        }
    }

    /// Presses a key: `Enter`, `Tab`, `Space`.
    #[track_caller]
    pub fn press(&mut self, key: &str) {
        let (key, code, text) = match key {
            "Enter" => ("Enter", 13, "\r"),
            "Space" => (" ", 32, " "),
            _ => ("Tab", 9, ""),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event = json!({ "type": kind, "key": key, "text": text,
                                "windowsVirtualKeyCode": code });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Shows the page so wide and high.
    #[track_caller]
    pub fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
                              "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Has the person prefer dark colours.
    #[track_caller]
    pub fn prefer_dark(&mut self) {
        let dark = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": dark }));
    }

    /// Keeps a picture of the whole page, if `E2E_SCREENSHOTS` names a directory.
    #[track_caller]
    pub fn picture(&mut self, name: &str) {
        let Some(dir) = std::env::var_os("E2E_SCREENSHOTS") else {
            return;
        };
        let whole = json!({ "format": "png", "captureBeyondViewport": true });
        let reported = self.call("Page.captureScreenshot", whole);
        let picture = BASE64_STANDARD.decode(reported["data"].as_str().expect("a picture"));
        let file = Path::new(&dir).join(format!("{name}.png"));
        fs::write(file, picture.expect("base64")).expect("the directory is writable");
    }

    /// What the page has complained of: errors, warnings, violations of its policy; refusals by
    /// the gateway, which it knows, are none.
    pub fn complaints(&mut self) -> Vec<String> {
        // What was said before has been heard after this.
        self.eval("0");
        let complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["source"] != "network",
            _ => false,
        };
        let found = self.events.iter().filter(complaint);
        found.map(|event| event["params"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself, and its helpers with it: nothing of theirs is left in the directory.
        let _ = write!(self.to, "{{\"id\":0,\"method\":\"Browser.close\"}}\0");
        let _ = self.to.flush();
        let deadline = Instant::now() + patience();
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(3));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
