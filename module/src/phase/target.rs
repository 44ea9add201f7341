//! Where a request goes: the targets that serve it, and the one that an attempt takes.

use std::rc::Rc;

use openai_core::openai::ApiError;
use openai_core::openai::head::Captured;
use openai_core::routes::Alias;

use crate::Openai;
use crate::conf::{Location, Main, Pool, Target};
use crate::ctx::Context;
use crate::ffi::Request;

/// Finds the targets of a request whose body has been looked at, or why there are none.
pub fn route(ctx: &Context, place: &Location, main: &Main) -> Result<(), ApiError> {
    ctx.target.set(None);
    let Some(at) = place.routes() else {
        *ctx.targets.borrow_mut() = place.targets();
        return Ok(());
    };
    let block = main.routes.get(at).ok_or(ApiError::Internal)?;
    let model = ctx.head.get().map_or(&Captured::Absent, |head| &head.model);
    let routed = block.routes.find(model).ok_or(ApiError::ModelNotFound)?;
    ctx.routed.set(Some((at, routed)));
    *ctx.targets.borrow_mut() = block.targets.get(routed.list).cloned();
    Ok(())
}

/// The targets of the request, in the order of preference.
pub fn targets(ctx: &Context) -> Option<Rc<[Target]>> {
    ctx.targets.borrow().clone()
}

/// Chooses the target of the next attempt.
pub fn choose(ctx: &Context) -> Option<Target> {
    let targets = targets(ctx)?;
    let chosen = 0;
    ctx.target.set(Some(chosen));
    targets.get(chosen).cloned()
}

/// The target that was chosen.
pub fn chosen(ctx: &Context) -> Option<Target> {
    targets(ctx)?.get(ctx.target.get()?).cloned()
}

/// The pool of the target that was chosen, and its position.
pub fn pool<'a>(ctx: &Context, main: &'a Main) -> Option<(usize, &'a Pool)> {
    let at = chosen(ctx)?.pool;
    main.pools.get(at).map(|pool| (at, pool))
}

/// The pool of the first target of all requests here, for who asks before one is chosen.
pub fn first_pool<'a>(place: &Location, main: &'a Main) -> Option<(usize, &'a Pool)> {
    let at = place.targets()?.first()?.pool;
    main.pools.get(at).map(|pool| (at, pool))
}

/// The pattern that the request's model matched.
pub fn pattern<'a>(request: &Request<'a>) -> Option<&'a str> {
    let (at, routed) = request.recalled::<Openai>()?.routed.get()?;
    let block = request.main_conf::<Openai>()?.routes.get(at)?;
    block.routes.pattern(routed)
}

/// The alias that the request asked for.
pub fn alias<'a>(ctx: &Context, main: &'a Main) -> Option<&'a Alias> {
    let (at, routed) = ctx.routed.get()?;
    main.routes.get(at)?.routes.alias(routed)
}
