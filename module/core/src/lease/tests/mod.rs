mod alternatives;
mod bed;
mod behaviour;
mod change;
mod lock;
mod model;
mod reload;
