mod link;
mod node;
mod scripted;
