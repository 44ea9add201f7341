//! Changes of the locks that are requested while the locks are borrowed.
//!
//! To connect to a node, nginx may close an idle connection to free its connection entry.
//! That can end a request, a lease or a wait while the locks are borrowed. Such a change is
//! stored here and made, in order, before the next one.

use std::cell::RefCell;

use nginx_safe::Token;
use openai_core::lease::{Avoid, Grant, LeaseHandle, Lock};

use super::{LOCKS, services};

/// A change of the locks.
pub(super) enum Change {
    Begin(Grant, Token, Avoid),
    TakeOver(Grant, Lock, Token),
    GiveBack(Grant, Lock),
    GiveBackService(Grant),
    End(LeaseHandle),
}

thread_local! {
    static LATE: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
}

/// Makes a change after all earlier ones, or stores it while the locks are borrowed.
pub(super) fn make(change: Change) {
    if LOCKS.with(|locks| locks.try_borrow_mut().is_err()) {
        return LATE.with_borrow_mut(|late| late.push(change));
    }
    make_late();
    change.make();
}

/// Makes the stored changes.
pub(super) fn make_late() {
    let late = LATE.with_borrow_mut(std::mem::take);
    late.into_iter().for_each(Change::make);
}

impl Change {
    fn make(self) {
        match self {
            Self::Begin(grant, token, avoid) => super::begin_now(&grant, token, &avoid),
            Self::TakeOver(grant, lock, token) => {
                LOCKS.with_borrow_mut(|locks| locks.hold(&grant, Some(token), Some(lock)));
            }
            Self::GiveBack(grant, lock) => super::give_back_now(&grant, lock),
            Self::GiveBackService(grant) => services::give_back_now(&grant),
            Self::End(handle) => super::end_now(handle),
        }
    }
}
