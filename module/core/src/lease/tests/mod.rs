mod alternatives;
mod bed;
mod behaviour;
mod circuits;
mod lock;
mod model;
mod reload;
