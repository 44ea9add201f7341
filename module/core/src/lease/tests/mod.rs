mod alternatives;
mod bed;
mod behaviour;
mod lock;
mod model;
mod reload;
mod service;
