mod bodies;
mod document;
mod routes;
