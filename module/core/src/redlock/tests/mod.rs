mod circuit;
mod judgement;
mod naming;
mod outages;
mod replies;
mod resp;
mod strays;
mod trial;
