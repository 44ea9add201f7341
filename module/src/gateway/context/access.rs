//! The client of a request.

use std::cell::Cell;

use openai_core::clients::Client;

use super::Context;
use crate::config::Main;

/// The client of a request.
#[derive(Default)]
pub struct AccessState {
    /// The position of the client in the table of clients.
    pub client: Cell<Option<usize>>,
}

impl Context {
    /// The client of the request, if its token was checked.
    pub fn client<'a>(&self, main: &'a Main) -> Option<&'a Client> {
        let clients = main.clients.as_ref()?.as_slice();
        clients.get(self.access.client.get()?)
    }
}
