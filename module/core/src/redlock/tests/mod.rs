mod circuit;
mod cool_downs;
mod judgement;
mod naming;
mod node_check;
mod replies;
mod resp;
mod strays;
