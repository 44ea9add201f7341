mod bed;
mod behaviour;
mod model;
mod reload;
