//! Contexts of requests, and configurations: what is asked for by another type is not found.

use ngx::core::Pool;

use crate::config::{registered, tagged};
use crate::request::context;
use crate::testing::TestPool;

#[test]
fn a_context_is_found_by_its_own_type_only() {
    registered::place_at(1);
    let pool = TestPool::new();
    let r = pool.request();
    assert_eq!(context::current::<u32>(r), None);
    assert_eq!(context::attach(r, |_| 7_u32), Some(&7));
    assert_eq!(context::current::<u32>(r), Some(&7));
    assert_eq!(context::current::<i32>(r), None);
    // SAFETY: as nginx does it at an internal redirect; the place is one of the request's.
    unsafe { (*r).ctx.add(1).write(core::ptr::null_mut()) };
    assert_eq!(context::current::<u32>(r), None);
    assert_eq!(context::recall::<u32>(r), Some(&7));
    assert_eq!(context::recall::<i32>(r), None);
    assert_eq!(context::adopt::<i32>(r), None);
    assert_eq!(context::adopt::<u32>(r), Some(&7));
    assert_eq!(context::current::<u32>(r), Some(&7));
}

#[test]
fn a_token_finds_nothing_once_its_request_is_gone() {
    registered::place_at(1);
    let pool = TestPool::new();
    let r = pool.request();
    let mut token = None;
    context::attach(r, |of| token = Some(of));
    let token = token.expect("a token");
    assert_eq!(token.find().map(|found| found.as_ptr()), Some(r));
    drop(pool);
    assert_eq!(token.find(), None);
}

#[test]
fn a_configuration_is_found_by_its_own_type_only() {
    let pool = TestPool::new();
    // SAFETY: a live pool.
    let conf = tagged::make::<u32>(&unsafe { Pool::from_ngx_pool(pool.0) });
    // SAFETY: what `make` has made, or null.
    unsafe {
        assert!(tagged::find::<u32>(conf).is_some());
        assert!(tagged::find::<i32>(conf).is_none());
        assert!(tagged::find::<u32>(core::ptr::null_mut()).is_none());
    }
}
