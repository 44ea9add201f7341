mod bodies;
mod document;
mod health;
mod routes;
mod stats;
