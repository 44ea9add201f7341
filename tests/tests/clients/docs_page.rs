//! The documentation page, as a person sees it in a browser.

use e2e::Browser;

use crate::locks::{Bed, Store, TOKEN};

fn signed_in(bed: &Bed, width: u32) -> Browser {
    let mut browser = Browser::start();
    browser.resize(width, 900);
    browser.open(&bed.gateway.url("/docs"));
    browser.wait("document.activeElement.id === 'token'");
    browser.type_text(TOKEN);
    browser.press("Enter");
    browser.wait_text("#api", "/v1/lock/acquire");
    browser.wait("!document.querySelector('#api').inert");
    browser
}

#[test]
fn it_asks_for_a_token_and_shows_the_api() {
    let bed = Bed::new(Store::Shm, 1);
    let mut browser = Browser::start();
    browser.open(&bed.gateway.url("/docs"));
    browser.wait("document.activeElement.id === 'token'");
    browser.picture("docs-sign-in");
    browser.type_text("wrong");
    browser.press("Enter");
    browser.wait_text("#trouble", "not known");
    assert_eq!(browser.eval("sessionStorage.length"), 0);
    browser.wait("document.activeElement.id === 'token'");
    browser.type_text(TOKEN);
    browser.press("Enter");
    browser.wait_text("#api", "/v1/chat/completions");
    browser.wait_text("#api", "/health");
    // It outlives a reload of the page.
    browser.open(&bed.gateway.url("/redoc"));
    browser.wait_text("#api", "/v1/lock/acquire");
    browser.eval("document.querySelector('#sign-out').click()");
    browser.wait("document.activeElement.id === 'token'");
    assert_eq!(browser.eval("sessionStorage.length"), 0);
    assert_eq!(browser.text("#api"), "");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn a_request_can_be_tried_out() {
    let bed = Bed::new(Store::Shm, 1);
    let mut browser = signed_in(&bed, 1280);
    let operation = |id: &str| format!("document.querySelector('[id$=-{id}]')");
    for (id, answer) in [
        ("listLocks", "\"locks\""),
        ("createChatCompletion", "powered"),
    ] {
        let section = operation(id);
        let open = format!("{section}?.querySelector('button.opblock-summary-control')");
        browser.wait(&format!("{open} != null"));
        browser.eval(&format!("{open}.click()"));
        // Swagger UI cannot execute an operation before it has made its examples.
        browser.wait(&format!(
            "{section}.querySelector('.responses-inner .highlight-code') !== null"
        ));
        browser.wait(&format!(
            "(() => {{
                const answer = {section}.querySelector('.live-responses-table');
                if (answer) return answer.innerText.includes({answer:?});
                if (!(window.clicked > Date.now() - 2000)) {{
                    window.clicked = Date.now();
                    {section}.querySelector('button.execute')?.click();
                }}
                return false;
            }})()"
        ));
    }
    // The errors of the gateway are listed.
    browser.wait_text("#api", "no_key_available");
    browser.picture("docs-desktop");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn it_fits_a_telephone() {
    let bed = Bed::new(Store::Shm, 1);
    let mut browser = signed_in(&bed, 390);
    browser.picture("docs-phone");
    let section = "document.querySelector('[id$=-createChatCompletion]')";
    browser.eval(&format!(
        "{section}.querySelector('button.opblock-summary-control').click()"
    ));
    browser.wait(&format!(
        "{section}.querySelector('button.execute') !== null"
    ));
    browser.picture("docs-phone-open");
    let wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth";
    assert_eq!(browser.eval(wide), 0);
    assert_eq!(browser.complaints(), [""; 0]);
}
