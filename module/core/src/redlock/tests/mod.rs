mod circuit;
mod judgement;
mod naming;
mod replies;
mod resp;
mod strays;
