mod bed;
mod behaviour;
mod hostile;
mod model;
