mod bodies;
mod document;
mod routes;
mod stats;
