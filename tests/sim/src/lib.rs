// SPDX-License-Identifier: GPL-2.0

//! Deterministic simulation of ST-TCP: a client and two hosts round the real engine, in virtual time.
//!
//! A seed decides a schedule: the hosts and their programs, what the network does to each packet, who dies and when. Packets are real bytes,
//! read, changed and built by the engine, and verified wherever they arrive. TCP is smoltcp's.

mod check;
mod client;
mod host;
mod link;
pub mod many;
mod rng;
mod schedule;
mod stack;
mod talk;
mod world;

pub use world::{run, Excuse, Report};
