//! Contexts and configurations are found by their own type only.

use crate::config::{registered, tagged};
use crate::request::context;
use crate::request::handle::Request;
use crate::testing::TestPool;

#[test]
fn a_context_is_found_by_its_own_type_only() {
    registered::place_at(1);
    let pool = TestPool::new();
    let r = pool.request();
    // SAFETY: the request lives as long as the pool.
    let request = unsafe { Request::borrow(r) };
    assert_eq!(context::current::<u32>(request), None);
    assert_eq!(context::attach(request, |_| 7_u32), Some(&7));
    assert_eq!(context::current::<u32>(request), Some(&7));
    assert_eq!(context::current::<i32>(request), None);
    // SAFETY: `ctx` has an entry at 1. nginx clears it in the same way at an internal redirect.
    unsafe { (*r).ctx.add(1).write(core::ptr::null_mut()) };
    assert_eq!(context::current::<u32>(request), None);
    assert_eq!(context::recall::<u32>(request), Some(&7));
    assert_eq!(context::recall::<i32>(request), None);
    assert_eq!(context::adopt::<i32>(request), None);
    assert_eq!(context::adopt::<u32>(request), Some(&7));
    assert_eq!(context::current::<u32>(request), Some(&7));
}

#[test]
fn a_token_finds_nothing_once_its_request_is_gone() {
    registered::place_at(1);
    let pool = TestPool::new();
    let r = pool.request();
    // SAFETY: the request lives as long as the pool.
    let request = unsafe { Request::borrow(r) };
    let mut token = None;
    context::attach(request, |of| token = Some(of));
    let token = token.expect("a token");
    assert_eq!(token.find().map(|found| found.as_ptr()), Some(r));
    drop(pool);
    assert_eq!(token.find(), None);
}

#[test]
fn a_configuration_is_found_by_its_own_type_only() {
    let pool = TestPool::new();
    // SAFETY: the pool is live. `conf` is null or made by `make`.
    unsafe {
        let conf = tagged::make::<u32>(pool.0);
        assert!(tagged::find::<u32>(conf).is_some());
        assert!(tagged::find::<i32>(conf).is_none());
        assert!(tagged::find::<u32>(core::ptr::null_mut()).is_none());
    }
}
